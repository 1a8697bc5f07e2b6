import { howToInstall } from "./adapter.ts";
import { DeviceError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import { type Kernel, kernel, type MatrixShape, type Target } from "./kernel.ts";

const probe = kernel({
  name: "selfTest",
  bindings: { x: "read", y: "write" },
  workgroups: () => [1],
  cost: () => ({ flops: 128, bytes: 512 }),
  wgsl: () => /* wgsl */ `
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) i: u32) { y[i] = x[i] * 3.0 + f32(i); }`,
});

/** What a kernel makes of `x`, in a `y` as large that holds `blank` before: the pool may hand out memory that holds the right answer of an earlier test. */
async function answer(gpu: Gpu, spec: Kernel, x: ArrayBufferView, blank: ArrayBufferView): Promise<ArrayBuffer> {
  const bytes = x.byteLength;
  const views = { x: { block: gpu.alloc(bytes), offset: 0, bytes }, y: { block: gpu.alloc(bytes), offset: 0, bytes } };
  gpu.write(views.x, x);
  gpu.write(views.y, blank);
  gpu.launch(spec, views, {});
  return gpu.read(views.y).finally(() => {
    for (const { block } of Object.values(views)) gpu.release(block);
  });
}

/** @throws DeviceError where the adapter's answer is not the right one */
export async function selfTest(gpu: Gpu): Promise<void> {
  const input = Float32Array.from({ length: 64 }, (_, i) => i / 8 - 2);
  const output = new Float32Array(await answer(gpu, probe, input, new Float32Array(64).fill(-1)));
  const expected = input.map((value, i) => value * 3 + i); // exact
  const detail = difference("self-test", output, expected);
  if (!detail) return;
  const { name } = gpu;
  gpu.close();
  throw new DeviceError(`${name}: the driver computes wrongly (${detail}). ${howToInstall}`);
}

const NEWER = "A newer driver may do better";

/** The first element that is wrong, or "". */
function difference(test: string, output: ArrayLike<number>, expected: ArrayLike<number>): string {
  for (let i = 0; i < expected.length; i++)
    if (output[i] !== expected[i]) return `element ${i} of the ${test} is ${output[i]}, expected ${expected[i]}`;
  return "";
}

/** What is wrong with the answer, or "". */
const differs = (
  answer: Promise<ArrayBuffer>,
  type: typeof Float16Array | typeof Float32Array,
  expected: ArrayLike<number>,
): Promise<string> => answer.then((bytes) => difference("test", new type(bytes), expected), String); // a compiler's refusal arrives here

const halfProbe = kernel({
  name: "halfTest",
  bindings: { x: "read", y: "write" },
  types: () => ({ x: "vec4<f16>", y: "vec4<f16>" }),
  workgroups: () => [1],
  cost: () => ({ flops: 512, bytes: 1024 }),
  wgsl: () => /* wgsl */ `
    var<workgroup> turned: array<vec4<f16>, 64>;
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) i: u32) {
      turned[i] = x[i] * 3.0h + vec4<f16>(vec4f(f32(i)));
      workgroupBarrier();
      let v = turned[63u - i];
      y[i] = vec4<f16>(v.wz, f16(f32(v.x)), max(v.y, 0.5h));
    }`,
});

/** Half precision is left out, with a line that says so, where it does not compute what it should. */
export async function halfTest(gpu: Gpu, say: (line: string) => void = console.error): Promise<void> {
  const input = Float16Array.from({ length: 256 }, (_, i) => i / 8 - 16);
  const expected = Float16Array.from({ length: 256 }, (_, i) => {
    const source = 4 * (63 - (i >> 2)) + [3, 2, 0, 1][i & 3];
    const value = input[source] * 3 + (source >> 2);
    return (i & 3) === 3 ? Math.max(value, 0.5) : value;
  });
  const blank = new Uint16Array(256).fill(0xffff);
  const bytes = answer(gpu, halfProbe, new Uint16Array(input.buffer), blank);
  const trouble = await differs(bytes, Float16Array, expected);
  if (!trouble) return;
  gpu.target = { ...withoutUnits(gpu.target), f16: false };
  say(`${gpu.name}: the driver computes wrongly in half precision (${trouble}); it is left out. ${NEWER}`);
}

/**
 * One product of each layout on matrix units, out of shared memory and into it as the kernels do it: halves by eights, sums by fours, in
 * one array, and sums that begin as a product of zeros.
 */
export const unitProbe = ({ m, n, k }: MatrixShape, lanes: number) =>
  kernel({
    name: "unitTest",
    bindings: { x: "read", y: "write" },
    types: () => ({ x: "vec4u", y: "vec4u" }),
    workgroups: () => [1],
    cost: () => ({ flops: 4 * m * n * k, bytes: 4 * m * n }),
    wgsl: () => /* wgsl */ `
      alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
      alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
      alias Sum = subgroup_matrix_result<f32, ${n}, ${m}>;
      var<workgroup> slices: array<vec4u, ${unitVectors({ m, n, k })}>;
      @compute @workgroup_size(${lanes})
      fn main(@builtin(local_invocation_index) lane: u32) {
        for (var i = lane; i < ${unitVectors({ m, n, k })}u; i += ${lanes}u) { slices[i] = x[i]; }
        workgroupBarrier();
        let left = subgroupMatrixLoad<Left, row_major>(&slices, 0u, ${k / 8}u);
        let right = subgroupMatrixLoad<Right, row_major>(&slices, ${(m * k) / 8}u, ${n / 8}u);
        let turned = subgroupMatrixLoad<Right, col_major>(&slices, ${(m * k + k * n) / 8}u, ${k / 8}u);
        var sum = subgroupMatrixMultiplyAccumulate(Left(), Right(), Sum());
        sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
        sum = subgroupMatrixMultiplyAccumulate(left, turned, sum);
        workgroupBarrier();
        subgroupMatrixStore<row_major>(&slices, 0u, sum, ${n / 4}u);
        workgroupBarrier();
        for (var i = lane; i < ${(m * n) / 4}u; i += ${lanes}u) { y[i] = slices[i]; }
      }`,
  });

/** Of four words: A, B and Bᵀ in halves go in, the sums come out. */
const unitVectors = ({ m, n, k }: MatrixShape) => Math.max((m * k + 2 * k * n) / 8, (m * n) / 4);

/** Matrix units are left out, with a line that says so, where they do not compute what they should. */
export async function unitTest(gpu: Gpu, say: (line: string) => void = console.error): Promise<void> {
  const { matrix, subgroupSize } = gpu.target;
  if (!matrix) return;
  const { m, n, k } = matrix;
  const x = new Float16Array(8 * unitVectors(matrix)).map((_, i) => ((i * 7) % 11) - 5); // small: all sums are exact
  const at = { right: m * k, turned: m * k + k * n };
  const expected = Array.from({ length: m * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n];
    let sum = 0;
    for (let j = 0; j < k; j++) sum += x[row * k + j] * (x[at.right + j * n + column] + x[at.turned + column * k + j]);
    return sum;
  });
  const blank = new Uint32Array(4 * unitVectors(matrix)).fill(0xffffffff);
  const bytes = answer(gpu, unitProbe(matrix, subgroupSize), new Uint16Array(x.buffer), blank);
  const trouble = await differs(bytes, Float32Array, expected);
  if (!trouble) return;
  gpu.target = withoutUnits(gpu.target);
  say(`${gpu.name}: its matrix units compute wrongly (${trouble}); they are left out. ${NEWER}`);
}

/** The target of an adapter whose matrix units are not used. */
export function withoutUnits({ matrix, ...target }: Target): Target {
  return { ...target, class: target.class === "matrix" ? "portable" : target.class };
}
