import { expect, test } from "bun:test";
import type { Target } from "../../framework/device/kernel.ts";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { type MatmulCall, matmul, matmulLaunch } from "../../kernels/matmul.ts";
import { testGpu } from "./launch.ts";
import { call, errorOf, layouts } from "./matmulReference.ts";

const { target } = await testGpu();
const portable: Target = { ...target, class: "portable" };

/** Whole tiles, then sizes that no tile divides, many rows and few; some lines start at multiples of four, some do not. */
const sizes = [
  [64, 64, 64],
  [48, 96, 20],
  [67, 131, 37],
  [1, 40, 64],
  [1, 1, 1],
  [3, 33, 16],
  [4, 36, 17],
  [7, 13, 5],
] as const;

for (const layout of layouts)
  for (const [m, n, k] of sizes)
    test(`${layout} of ${m} × ${n} × ${k} equals float64 and touches nothing behind C`, async () => {
      expect(await errorOf(matmul, call(layout, m, n, k))).toBeLessThan(1e-5);
    });

for (const [layout, m, n, k, variant] of [
  ["NN", 67, 131, 37, 1],
  ["NT", 68, 132, 36, 1],
  ["TN", 68, 132, 37, 1],
  ["NT", 3, 70, 300, 2],
  ["NT", 1, 35, 33, 2],
] as const)
  test(`${layout} of ${m} × ${n} × ${k} as a portable GPU runs it equals float64`, async () => {
    const spec = call(layout, m, n, k, { batch: 2 });
    const tuning = matmul.pick!(matmulLaunch(spec).shape, portable);
    expect(tuning.variant).toBe(variant);
    expect(await errorOf(matmul, spec, tuning)).toBeLessThan(1e-5);
  });

test("every point of the tuning space equals float64", async () => {
  for (const spec of [call("NT", 33, 68, 24), call("NT", 2, 68, 24)])
    for (const tuning of tuningSpace(matmul, matmulLaunch(spec).shape, target))
      expect([tuning, await errorOf(matmul, spec, tuning)]).toEqual([tuning, expect.closeTo(0, 5)]);
});

test("the tuning space holds every variant that the adapter can run", () => {
  const variants = (m: number) =>
    new Set(tuningSpace(matmul, matmulLaunch(call("NT", m, 68, 24)).shape, target).map(({ variant }) => variant));
  const broadcast = target.subgroupSize > 0 ? [0] : [];
  expect([...variants(33)]).toEqual([...broadcast, 1]);
  expect([...variants(2)]).toEqual([...broadcast, 1, 2]);
});

test("a batch may share an operand by a stride of 0", async () => {
  const spec = { batch: 3, strideA: 0 };
  expect(await errorOf(matmul, call("NN", 10, 12, 8, spec))).toBeLessThan(1e-5);
  expect(await errorOf(matmul, call("NT", 10, 12, 8, { batch: 3, strideB: 0 }))).toBeLessThan(1e-5);
});

test("a batch's stride that is no multiple of four is read right", async () => {
  expect(await errorOf(matmul, call("NN", 1, 12, 8, { batch: 3, strideA: 97, strideB: 99 }))).toBeLessThan(1e-5);
});

const epilogues: Partial<MatmulCall>[] = [
  { alpha: -0.5 },
  { accumulate: true, alpha: 2 },
  { bias: true },
  { bias: true, accumulate: true },
  { residual: true, alpha: 2 },
  { residual: true, bias: true },
];
for (const more of epilogues)
  test(`${JSON.stringify(more)} is applied to whole and broken tiles`, async () => {
    expect(await errorOf(matmul, call("NT", 4, 36, 8, more))).toBeLessThan(1e-5);
    expect(await errorOf(matmul, call("NT", 3, 35, 9, { batch: 2, ...more }))).toBeLessThan(1e-5);
  });

test.skipIf(!target.f16)("f16 operands are summed in f32", async () => {
  expect(await errorOf(matmul, call("NT", 20, 36, 512, { a: "f16", b: "f16" }))).toBeLessThan(1e-4);
  expect(await errorOf(matmul, call("TN", 3, 35, 33, { a: "f16", b: "f32" }))).toBeLessThan(1e-4);
});

test.skipIf(!target.f16)("an f16 result is rounded once", async () => {
  const halves = { a: "f16", b: "f16", c: "f16" } as const;
  expect(await errorOf(matmul, call("NN", 4, 36, 64, halves))).toBeLessThan(5e-4);
  expect(await errorOf(matmul, call("NN", 4, 7, 9, { ...halves, accumulate: true }))).toBeLessThan(5e-4);
});

test("k = 0 writes zeros, or leaves what was there when it accumulates", async () => {
  expect(await errorOf(matmul, call("NN", 1, 8, 0))).toBe(0);
  expect(await errorOf(matmul, call("NN", 1, 8, 0, { accumulate: true }))).toBe(0);
});

test("an empty result launches nothing", async () => {
  const gpu = await testGpu();
  const before = gpu.stats.dispatches;
  for (const [m, n] of [
    [0, 8],
    [8, 0],
  ])
    expect(await errorOf(matmul, call("NT", m, n, 4))).toBe(0);
  expect(await errorOf(matmul, call("NT", 4, 4, 4, { batch: 0, strideA: 0, strideB: 0 }))).toBe(0);
  expect(gpu.stats.dispatches).toBe(before);
});

test("shapes of one alignment share a pipeline", async () => {
  const gpu = await testGpu();
  await errorOf(matmul, call("NT", 1, 64, 32));
  const before = gpu.stats.pipelines;
  await errorOf(matmul, call("NT", 1, 20, 8));
  expect(gpu.stats.pipelines).toBe(before);
});

test("a dtype that is no float is named", () => {
  expect(() => matmulLaunch(call("NN", 4, 4, 4, { b: "i32" }))).toThrow("matmul: b is i32, expected f32 or f16");
});

test("a size that is not a whole number is named", () => {
  expect(() => matmulLaunch(call("NN", 4.5, 4, 4))).toThrow("matmul: m is 4.5, expected a whole number");
});
