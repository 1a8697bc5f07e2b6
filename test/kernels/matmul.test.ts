import { expect, test } from "bun:test";
import type { Target } from "../../framework/device/kernel.ts";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { type MatmulCall, matmul, matmulLaunch } from "../../kernels/matmul.ts";
import { noise, testGpu } from "./launch.ts";
import { call, errorOf, layouts } from "./matmulReference.ts";
import { coveringPoints } from "./pairs.ts";

const { target } = await testGpu();
const portable: Target = { ...target, class: "portable", sharedBytes: 32768 };

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
  for (const spec of [call("NT", 33, 68, 24), call("NT", 2, 68, 24), call("NN", 36, 68, 24), call("TN", 36, 68, 24)])
    for (const tuning of tuningSpace(matmul, matmulLaunch(spec).shape, target))
      expect([tuning, await errorOf(matmul, spec, tuning)]).toEqual([tuning, expect.closeTo(0, 5)]);
});

/** Tiles whole and broken, more parts than steps, by layout. Sizes that are no multiples of four take long to compile: one in four. */
const tileSpecs = [
  call("NN", 132, 140, 36, { accumulate: true, alpha: 2 }),
  call("NT", 132, 140, 36, { bias: true, residual: true }),
  call("TN", 132, 140, 36, { batch: 2 }),
];
const brokenSpecs = [
  call("NN", 35, 70, 33, { accumulate: true }),
  call("NT", 35, 70, 33, { bias: true, batch: 2 }),
  call("TN", 35, 70, 33),
];
const space = tuningSpace(matmul, matmulLaunch(tileSpecs[0]).shape, portable);
const tilePoints = coveringPoints(
  space.filter(({ variant }) => variant === 1),
  9,
);
for (const [i, tuning] of tilePoints.entries()) {
  const spec = i % 4 === 3 ? brokenSpecs[(i >> 2) % 3] : tileSpecs[i % 3];
  test(`${spec.layout} of ${spec.m} × ${spec.n} × ${spec.k} in tiles of ${JSON.stringify(tuning)} equals float64`, async () => {
    expect(await errorOf(matmul, spec, tuning)).toBeLessThan(1e-5);
  });
}

for (const halves of [0, 1])
  test.skipIf(!target.f16)(
    `tiles of f16, slices of ${halves ? "f16" : "f32"}, are summed in f32, also where k is split`,
    async () => {
      const types = { a: "f16", b: "f16" } as const;
      const tile = { variant: 1, tileRows: 32, tileColumns: 32, rows: 4, columns: 4, step: 8, halves };
      const [whole, parts] = [
        { ...tile, ahead: 1, split: 1 },
        { ...tile, ahead: 0, split: 4 },
      ];
      expect(await errorOf(matmul, call("NT", 36, 72, 260, types), whole)).toBeLessThan(1e-4);
      expect(await errorOf(matmul, call("TN", 36, 72, 260, types), parts)).toBeLessThan(1e-4);
      expect(await errorOf(matmul, call("NN", 35, 70, 33, { ...types, c: "f16" }), whole)).toBeLessThan(1e-3);
      const possible = (spec: MatmulCall) => matmul.valid?.(matmulLaunch(spec).shape, whole, portable);
      expect([possible(call("NT", 36, 72, 260, types)), possible(call("NT", 36, 72, 260))]).toEqual([true, !halves]);
    },
  );

test("a portable GPU gets large tiles for large products, smaller ones or a split k where those would not fill it", () => {
  const picked = (layout: MatmulCall["layout"], m: number, n: number, k: number, from = portable) => {
    const { tileRows, split, ahead } = matmul.pick!(matmulLaunch(call(layout, m, n, k)).shape, from, {
      m,
      n,
      k,
      batch: 1,
    });
    return [tileRows, split, ahead];
  };
  expect(picked("NN", 4096, 4096, 4096)).toEqual([128, 1, 1]);
  expect(picked("NT", 2048, 512, 512)).toEqual([64, 1, 1]);
  expect(picked("NT", 128, 512, 512)).toEqual([32, 1, 1]);
  expect(picked("TN", 512, 512, 16384)).toEqual([128, 8, 1]);
  expect(picked("NN", 4096, 4096, 4096, { ...portable, sharedBytes: 16384 })).toEqual([128, 1, 0]);
});

test("a split product leaves no buffer behind, and gives the same bits each time", async () => {
  const gpu = await testGpu();
  const { kernel, shape, uniforms } = matmulLaunch(call("TN", 32, 32, 64, { strideA: 0, strideB: 0 }));
  const tuning = { variant: 1, tileRows: 32, tileColumns: 32, rows: 4, columns: 4, step: 8, ahead: 0, split: 4 };
  const views = Object.fromEntries(
    [..."abc"].map((name) => [name, { block: gpu.alloc(8192), offset: 0, bytes: name === "c" ? 4096 : 8192 }]),
  );
  for (const name of "ab") gpu.write(views[name], noise(2048, name.charCodeAt(0)));
  const live = gpu.pool.stats.liveBuffers;
  const run = async () => {
    gpu.launch(kernel, views, shape, uniforms, tuning);
    return [...new Uint32Array(await gpu.read(views.c))];
  };
  expect(await run()).toEqual(await run());
  expect(gpu.pool.stats.liveBuffers).toBe(live);
  for (const { block } of Object.values(views)) gpu.release(block);
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
