import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { type Kernel, kernel, type Tuning } from "../../framework/device/kernel.ts";
import { openGpu } from "../../framework/device/open.ts";
import { matmulLaunch } from "../../kernels/matmul.ts";
import { reduce } from "../../kernels/reduce.ts";
import { noise } from "../kernels/launch.ts";
import { races, unwatched, watchRaces } from "./watch.ts";

setDefaultTimeout(120_000); // what watches itself compiles slowly
await watchRaces();
const gpu = await openGpu();

interface How {
  tuning?: Tuning;
  /** Which of the two buffers a binding of another name takes. */
  names?: Record<string, "x" | "y">;
}

/** The variables that one launch races for; which kind of race is told hangs on the order that the lanes had. */
async function told(spec: Kernel, shape = {}, uniforms = {}, { tuning, names = {} }: How = {}): Promise<string[]> {
  const [x, y] = [0, 1].map(() => ({ block: gpu.alloc(4096), offset: 0, bytes: 4096 }));
  gpu.write(x, noise(1024));
  gpu.write(y, new Float32Array(1024));
  const views = Object.fromEntries(Object.entries(names).map(([name, of]) => [name, of === "x" ? x : y]));
  gpu.launch(spec, { x, y, ...views }, shape, uniforms, tuning);
  await gpu.read(y);
  for (const { block } of [x, y]) gpu.release(block);
  return [...new Set((await races()).map(({ variable }) => variable))];
}

const ONE = "struct One { a: f32, b: f32 } var<workgroup> one: One;";
let made = 0;
const lanes = (body: string, declarations = "", groups = 1) =>
  kernel({
    name: `races ${made++}`,
    bindings: { x: "read", y: "update" },
    workgroups: () => [groups],
    cost: () => ({ flops: 0, bytes: 0 }),
    wgsl: () => `
      ${declarations}
      @compute @workgroup_size(32)
      fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) { ${body} }`,
  });
const turn = (barrier: string) =>
  lanes(`t[lane] = x[lane]; ${barrier} y[lane] = t[31u - lane];`, "var<workgroup> t: array<f32, 32>;");

describe("of lanes that touch one element", () => {
  const cases: [what: string, spec: Kernel, expected: string[]][] = [
    ["with a barrier between", turn("workgroupBarrier();"), []],
    ["with none", turn(""), ["t"]],
    ["with one for other memory", turn("storageBarrier();"), ["t"]],
    [
      "round a loop without its second barrier",
      lanes(
        "for (var i = 0u; i < 2u; i++) { t[lane] = x[lane + i]; workgroupBarrier(); y[lane] += t[31u - lane]; }",
        "var<workgroup> t: array<f32, 32>;",
      ),
      ["t"],
    ],
    ["all writing it", lanes("y[7] = 1.0;"), ["y"]],
    ["in two workgroups", lanes("y[lane + 16u * wg.x] += 1.0;", "", 2), ["y"]],
    ["each its own", lanes("y[lane + 32u * wg.x] += 1.0;", "", 2), []],
    [
      "in rows of rows",
      lanes("t[lane / 8u][lane % 4u] = 1.0; y[lane] = 0.0;", "var<workgroup> t: array<array<f32, 8>, 4>;"),
      ["t"],
    ],
    [
      "by one lane, told to all",
      lanes("if (lane == 3u) { one.a = x[9]; } let all = workgroupUniformLoad(&one); y[lane] = all.a;", ONE),
      [],
    ],
    ["by one lane, read by all", lanes("if (lane == 3u) { one.a = x[9]; } y[lane] = one.a;", ONE), ["one"]],
    [
      "atomically",
      lanes("atomicAdd(&n, 1u); workgroupBarrier(); y[lane] = f32(atomicLoad(&n));", "var<workgroup> n: atomic<u32>;"),
      [],
    ],
    [
      "atomically, and by a load at once",
      lanes("atomicAdd(&n, 1u); y[lane] = f32(atomicLoad(&n));", "var<workgroup> n: atomic<u32>;"),
      ["n"],
    ],
    [
      "and a local of its name",
      lanes("{ var t = array<f32, 2>(1.0, 2.0); y[lane] = t[0]; } t = x[lane];", "var<workgroup> t: f32;"),
      ["t"],
    ],
  ];
  test.each(cases)("%s", async (_, spec, expected) => {
    expect(await told(spec)).toEqual(expected);
  });
});

/** The kernel without its barrier number `left`. */
const without = (spec: Kernel, left: number): Kernel => ({
  ...spec,
  name: `without ${made++}`,
  wgsl: (...given) => {
    let at = 0;
    return spec.wgsl(...given).replaceAll("workgroupBarrier();", (barrier) => (at++ === left ? "" : barrier));
  },
});

test("a reduction is in order, and not once its barrier is out", async () => {
  const shape = { op: "sum", x: "f32", y: "f32", together: true } as const;
  const sizes = { outer: 1, length: 1000, inner: 1, piece: 1000, pieces: 1 };
  const whole = reduce as unknown as Kernel;
  expect(await told(whole, shape, sizes)).toEqual([]);
  expect(await told(without(whole, 0), shape, sizes)).toEqual(["values"]);
});

test.each([
  ["two slices", 1, ["sliceA", "sliceB"]],
  ["one slice", 0, ["sliceA", "sliceB"]],
])("a GPU's product through %s is in order, and not without any of its two barriers", async (_, ahead, slices) => {
  const tuning = {
    variant: 1,
    tileRows: 32,
    tileColumns: 32,
    rows: 4,
    columns: 4,
    step: 16,
    ahead,
    split: 1,
    halves: 0,
  };
  const types = { a: "f32", b: "f32", c: "f32" } as const;
  const sizes = { m: 32, n: 32, k: 32, batch: 1, strideA: 0, strideB: 0 };
  const { kernel: product, shape, uniforms } = matmulLaunch({ layout: "NN", ...sizes, ...types });
  const whole = product as unknown as Kernel;
  const run = (spec: Kernel) => told(spec, shape, uniforms, { names: { a: "x", b: "x", c: "y" }, tuning });
  expect(await run(whole)).toEqual([]);
  for (const barrier of [0, 1]) expect(await run(without(whole, barrier))).toEqual(slices);
  expect([...unwatched]).toEqual([]);
});
