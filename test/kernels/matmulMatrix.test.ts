import { expect, setDefaultTimeout, test } from "bun:test";
import { moduleSource, type Target, tuningSpace } from "../../framework/device/kernel.ts";
import { unitProbe } from "../../framework/device/selfTest.ts";
import { type MatmulCall, type MatmulShape, type MatmulTuning, matmul, matmulLaunch } from "../../kernels/matmul.ts";
import { matrixBytes } from "../../kernels/shared/matmulMatrix.ts";
import { matrixUnits, targetUnit, unitOf } from "../../kernels/shared/matrixUnits.ts";
import { affordable, emulated, withUnit } from "./emulatedMatrix.ts";
import { testGpu } from "./launch.ts";
import { call, errorOf, layouts } from "./matmulReference.ts";
import { compile, type Module } from "./tint.ts";

setDefaultTimeout(600_000); // emulated fragments compile slowly, and Tint has hundreds of modules to read

const { target } = await testGpu();
const halves = { a: "f16", b: "f16" } as const;
const nvidia: Target = { ...withUnit(target, unitOf(32161616)), sharedBytes: 49152, f16: true };
const onEmulated = emulated(matmul);

/** Four subgroups of 8 lanes with 16 × 16 of C each, two slices of k apart. */
const small: MatmulTuning = { variant: 3, tileRows: 32, tileColumns: 32, lanes: 32, step: 16, split: 1, unit: 8080808 };

/** Other divisions: fragments that are no cubes, subgroups of 16 lanes, tiles taller and wider than they are long. */
const tunings: MatmulTuning[] = [
  { variant: 3, tileRows: 16, tileColumns: 32, lanes: 32, step: 16, split: 1, unit: 8081616 },
  { variant: 3, tileRows: 32, tileColumns: 16, lanes: 32, step: 16, split: 1, unit: 16160804 },
  { variant: 3, tileRows: 32, tileColumns: 32, lanes: 32, step: 16, split: 2, unit: 8080808 },
  { variant: 3, tileRows: 16, tileColumns: 64, lanes: 32, step: 8, split: 1, unit: 8080808 },
];

for (const layout of layouts)
  for (const [m, n, k] of [
    [32, 64, 48],
    [36, 20, 12],
    [37, 67, 21],
    [1, 5, 3],
  ])
    test.skipIf(!target.f16)(`${layout} of ${m} × ${n} × ${k} by emulated fragments equals float64`, async () => {
      expect(await errorOf(onEmulated, call(layout, m, n, k, halves), small)).toBeLessThan(1e-5);
    });

for (const tuning of tunings)
  test.skipIf(!target.f16)(`tuned to ${JSON.stringify(tuning)} emulated fragments give float64's result`, async () => {
    expect(await errorOf(onEmulated, call("NN", 45, 70, 40, { ...halves, batch: 2 }), tuning)).toBeLessThan(1e-5);
  });

test.skipIf(!target.f16)("epilogues, batches, shared operands and f16 results go through fragments too", async () => {
  const cases: [Partial<MatmulCall>, number][] = [
    [{ alpha: -0.5, bias: true, accumulate: true }, 1e-5],
    [{ c: "f16", bias: true, residual: true }, 5e-4],
    [{ batch: 3, strideB: 0 }, 1e-5],
    [{ batch: 2, strideA: 37 * 21 + 3, strideB: 21 * 66 + 1 }, 1e-5],
  ];
  for (const [more, limit] of cases)
    expect([more, await errorOf(onEmulated, call("NT", 37, 66, 21, { ...halves, ...more }), small)]).toEqual([
      more,
      expect.closeTo(0, limit < 1e-4 ? 4 : 3),
    ]);
  expect(await errorOf(onEmulated, call("NN", 5, 8, 0, { ...halves, accumulate: true }), small)).toBe(0);
});

test.skipIf(!target.f16)("f16 results are stored by eights where lines are multiples of eight", async () => {
  /** A round is less than the lanes of a subgroup. */
  const short = { ...small, tileRows: 16, tileColumns: 16, lanes: 64, step: 32, unit: 32080808 };
  const cases: [MatmulCall, MatmulTuning][] = [
    [call("NT", 37, 72, 24, { bias: true, residual: true, alpha: -0.5 }), small],
    [call("NN", 37, 72, 20, { batch: 2, accumulate: true }), small],
    [call("TN", 24, 40, 21, { accumulate: true, bias: true, residual: true }), short],
  ];
  for (const [more, tuning] of cases) {
    const spec: MatmulCall = { ...more, ...halves, c: "f16" };
    expect(matmul.types?.(matmulLaunch(spec).shape, tuning).c).toBe("halves8");
    expect([spec, await errorOf(onEmulated, spec, tuning)]).toEqual([spec, expect.closeTo(0, 2)]);
  }
});

for (const layout of layouts)
  test.skipIf(!target.matrix)(`${layout} on the adapter's own matrix units equals float64`, async () => {
    for (const [m, n, k] of [
      [256, 256, 128],
      [200, 300, 1100],
      [37, 67, 21],
    ]) {
      const half = n % 8 === 0;
      const ofC = half ? ({ c: "f16", residual: true } as const) : { accumulate: true };
      const spec = call(layout, m, n, k, { ...halves, ...ofC, bias: true, alpha: 0.5 });
      const points = tuningSpace(matmul, matmulLaunch(spec).shape, target).filter((t) => t.variant === 3);
      expect(points.length).toBeGreaterThan(2);
      for (const tuning of affordable(points, target))
        expect([tuning, await errorOf(matmul, spec, tuning)]).toEqual([tuning, expect.closeTo(0, half ? 2 : 3)]);
    }
  });

test("an adapter with matrix units takes them for f16 operands alone, where C has rows enough", () => {
  const picked = (spec: MatmulCall) => matmul.pick?.(matmulLaunch(spec).shape, nvidia).variant;
  expect(picked(call("NT", 512, 512, 512, halves))).toBe(3);
  expect(picked(call("NT", 512, 512, 512))).toBe(1);
  expect(picked(call("NT", 512, 512, 512, { a: "f16" }))).toBe(1);
  expect(picked(call("NT", 1, 512, 512, halves))).toBe(2);
});

test("a lane keeps fewer sums where registers are few", () => {
  const pick = (spec: MatmulCall, target: Target) => matmul.pick?.(matmulLaunch(spec).shape, target);
  const { matrix, ...portable } = { ...nvidia, class: "portable" as const };
  const intel = { ...portable, narrowSubgroup: 8 };
  expect(pick(call("NT", 4096, 4096, 512), portable)).toMatchObject({ variant: 1, tileRows: 128, rows: 8, columns: 8 });
  expect(pick(call("NT", 4096, 4096, 512), intel)).toMatchObject({ variant: 1, tileRows: 64, rows: 8, columns: 4 });
  expect(pick(call("NT", 4096, 4096, 512, halves), intel)).toMatchObject({ rows: 8, columns: 4, halves: 0 });
});

test("a weight's gradient of few tiles shares its long k among workgroups", () => {
  const { shape, uniforms } = matmulLaunch(call("TN", 512, 512, 16384, { ...halves, accumulate: true }));
  expect(matmul.pick?.(shape, nvidia, uniforms)).toMatchObject({ variant: 3, tileRows: 128, split: 8 });
});

test("every unit's adapter is offered tiles that fit its shared memory", () => {
  const { shape } = matmulLaunch(call("NN", 512, 512, 512, halves));
  for (const code of matrixUnits) {
    const adapter = { ...nvidia, ...withUnit(nvidia, unitOf(code)), sharedBytes: 32768 };
    expect(targetUnit(adapter)).toBe(code);
    expect(matmul.pick?.(shape, adapter).variant).toBe(3);
    expect(tuningSpace(matmul, shape, adapter).filter(({ variant }) => variant === 3).length).toBeGreaterThan(2);
  }
});

test("Tint compiles every point of the tuning space, layout and epilogue without a warning", async () => {
  const epilogues: Partial<MatmulCall>[] = [
    ...[{}, { c: "f16" }, { bias: true, residual: true, accumulate: true }],
    ...[{ grouped: "tiles" }, { grouped: "segments", accumulate: true }],
  ] as const;
  const aligned = (layout: MatmulCall["layout"]) => matmulLaunch(call(layout, 512, 512, 512, halves)).shape;
  const modules: Module[] = [];
  const add = (shape: MatmulShape, tuning: MatmulTuning, adapter?: Target) =>
    modules.push({
      name: JSON.stringify([shape, tuning, adapter?.subgroupControl]),
      source: moduleSource(matmul, shape, tuning, adapter),
      pipeline: tuning.lanes % 128 === 0 && matrixBytes(shape, tuning) <= 16384, // the null adapter's limits
    });
  for (const layout of layouts) {
    const points = tuningSpace(matmul, aligned(layout), nvidia).filter(({ variant }) => variant === 3);
    for (const tuning of points) add(aligned(layout), tuning);
    for (const more of epilogues)
      for (const size of [512, 516, 511])
        for (const tuning of points.slice(0, 1))
          add(matmulLaunch(call(layout, size, size, size, { ...halves, ...more })).shape, tuning);
  }
  for (const code of matrixUnits)
    add(aligned("NN"), matmul.pick?.(aligned("NN"), { ...nvidia, ...withUnit(nvidia, unitOf(code)) }) as MatmulTuning);
  for (const { lanes, ...unit } of matrixUnits.map(unitOf))
    modules.push({
      name: `the test of ${unit.m} × ${unit.n} × ${unit.k}`,
      source: moduleSource(unitProbe(unit, lanes), {}, {}),
      pipeline: false,
    });
  const amd = { ...nvidia, subgroupControl: true };
  add(aligned("NN"), matmul.pick?.(aligned("NN"), amd) as MatmulTuning, amd);
  expect(modules.at(-1)?.source).toContain("@compute @subgroup_size(32)");
  const said = await compile(modules);
  if (!said) return console.log("skip: the package webgpu is not installed here");
  expect(modules.filter(({ pipeline }) => pipeline).length).toBeGreaterThan(5);
  expect(said).toEqual({});
});
