import { describe, expect, test } from "bun:test";
import { type Kernel, kernel } from "../../framework/device/kernel.ts";
import { openGpu } from "../../framework/device/open.ts";
import { reduce } from "../../kernels/reduce.ts";
import { noise } from "../kernels/launch.ts";
import { races, unwatched, watchRaces } from "./watch.ts";

await watchRaces();
const gpu = await openGpu();

/** The variables that one launch races for; which kind of race is told hangs on the order that the lanes had. */
async function told(spec: Kernel, shape = {}, uniforms = {}): Promise<string[]> {
  const views = Object.fromEntries(
    ["x", "y"].map((name) => [name, { block: gpu.alloc(4096), offset: 0, bytes: 4096 }]),
  );
  gpu.write(views.x, noise(1024));
  gpu.launch(spec, views, shape, uniforms);
  await gpu.read(views.y);
  for (const { block } of Object.values(views)) gpu.release(block);
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

test("a kernel of ours is watched, and told once its barrier is out", async () => {
  const shape = { op: "sum", x: "f32", y: "f32", together: true } as const;
  const sizes = { outer: 1, length: 1000, inner: 1, piece: 1000, pieces: 1 };
  const whole = reduce as unknown as Kernel;
  expect(await told(whole, shape, sizes)).toEqual([]);
  const wgsl: Kernel["wgsl"] = (...given) => whole.wgsl(...given).replace("workgroupBarrier();", "");
  expect(await told({ ...whole, name: "without", wgsl }, shape, sizes)).toEqual(["values"]);
  expect([...unwatched]).toEqual([]);
});
