import { expect, setDefaultTimeout, test } from "bun:test";
import { type Kernel, moduleSource, type Target, tuningSpace } from "../../framework/device/kernel.ts";
import { type AttentionShape, type AttentionTuning, attention, attentionLaunch } from "../../kernels/attention.ts";
import { attentionGradientKV } from "../../kernels/attentionGradientKV.ts";
import { attentionGradientQ } from "../../kernels/attentionGradientQ.ts";
import { matrixUnits, unitOf } from "../../kernels/shared/matrixUnits.ts";
import { call, errorOf, lengths, packed } from "./attentionReference.ts";
import { affordable, emulated, withUnit } from "./emulatedMatrix.ts";
import { testGpu } from "./launch.ts";
import { compile, type Module } from "./tint.ts";

setDefaultTimeout(600_000); // emulated fragments compile for seconds each

const { target } = await testGpu();
const nvidia: Target = { ...withUnit(target, unitOf(32161616)), sharedBytes: 49152, f16: true };
const kernels: Kernel<AttentionShape, AttentionTuning>[] = [attention, attentionGradientQ, attentionGradientKV];

/** Two subgroups. Wide heads take two fragments and two panels; long blocks two fragments, and two lanes have a row. */
const wide: AttentionTuning = { variant: 2, rows: 16, lanes: 16, block: 16, unit: 8081616 };
const long: AttentionTuning = { variant: 2, rows: 16, lanes: 32, block: 32, unit: 16080816 };

for (const kernel of kernels) {
  const onEmulated = emulated(kernel);
  for (const [causal, group, headDim, tuning] of [
    [true, 2, 24, wide],
    [false, 1, 16, long],
  ] as const)
    test.skipIf(!target.f16)(
      `${kernel.name}${causal ? ", causal" : ""}, by emulated fragments equals float64 at all lengths`,
      async () => {
        for (const [queries, keys] of lengths) {
          const sizes = [2, 2 * group, 2, queries, keys, headDim] as const;
          const spec = call([...sizes], { causal, dtype: "f16" }, queries % 2 ? "BTHD" : "BHTD");
          const error = await errorOf(onEmulated, spec, { tuning });
          if (!(error < 1e-3)) throw new Error(`${queries} queries, ${keys} keys: off by ${error}`);
        }
      },
    );

  test.skipIf(!target.f16)(`${kernel.name} of packed documents by emulated fragments is right`, async () => {
    const spec = call([2, 4, 2, 67, 67, 24], { dtype: "f16", causal: true, segments: true });
    expect(await errorOf(onEmulated, spec, { segments: packed, tuning: wide })).toBeLessThan(1e-3);
  });

  test.skipIf(!target.f16)(`${kernel.name} by emulated fragments leaves a cache's spare room alone`, async () => {
    const spec = call([2, 2, 2, 5, 37, 16], { dtype: "f16" }, "BHTD", 9);
    expect(await errorOf(onEmulated, spec, { tuning: long })).toBeLessThan(1e-3);
  });

  test.skipIf(!target.matrix)(`${kernel.name} on the adapter's own matrix units equals float64`, async () => {
    for (const headDim of affordable([24, 64, 128], target)) {
      const cases = [
        { spec: call([2, 4, 2, 67, 67, headDim], { dtype: "f16", causal: true, segments: true }), segments: packed },
        { spec: call([1, 4, 2, 130, 200, headDim], { dtype: "f16" }), segments: undefined },
      ];
      for (const { spec, segments } of cases) {
        const points = tuningSpace(kernel, attentionLaunch(spec).shape, target).filter((t) => t.variant === 2);
        expect(points.length).toBeGreaterThan(0);
        for (const tuning of affordable(points, target))
          expect([tuning, (await errorOf(kernel, spec, { segments, tuning })) < 2e-3]).toEqual([tuning, true]);
      }
    }
  });

  test(`${kernel.name} takes matrix units for f16 heads of up to 128, in eights, where a group has rows enough`, () => {
    const picked = (sizes: Parameters<typeof call>[0], dtype: "f16" | "f32" = "f16", adapter = nvidia) =>
      kernel.pick?.(attentionLaunch(call(sizes, { dtype })).shape, adapter).variant;
    for (const headDim of [16, 32, 64, 96, 128])
      expect([headDim, picked([1, 8, 4, 512, 512, headDim])]).toEqual([headDim, 2]);
    expect(picked([1, 8, 4, 512, 512, 256])).toBe(1);
    expect(picked([1, 8, 4, 512, 512, 20])).toBe(1);
    expect(picked([1, 8, 4, 512, 512, 64], "f32")).toBe(1);
    for (const code of matrixUnits)
      expect([code, picked([1, 8, 4, 512, 512, 64], "f16", { ...nvidia, ...withUnit(nvidia, unitOf(code)) })]).toEqual([
        code,
        2,
      ]);
  });
}

test.skipIf(!target.f16)(
  "other divisions are right: four lanes a row, fragments of eight, lanes without an eight",
  async () => {
    for (const [headDim, tuning] of [
      [16, { variant: 2, rows: 8, lanes: 32, block: 32, unit: 32081616 }],
      [16, { variant: 2, rows: 16, lanes: 16, block: 16, unit: 8080808 }],
      [24, { variant: 2, rows: 8, lanes: 16, block: 16, unit: 16080808 }],
    ] as const) {
      const spec = call([1, 2, 1, 35, 41, headDim], { dtype: "f16" });
      for (const kernel of headDim === 24 ? [attention, attentionGradientQ] : [attention])
        expect([kernel.name, tuning, (await errorOf(emulated(kernel), spec, { tuning })) < 1e-3]).toEqual([
          kernel.name,
          tuning,
          true,
        ]);
    }
  },
);

test.skipIf(!target.f16)("large scores neither overflow nor vanish on matrix units", async () => {
  const spec = call([1, 1, 1, 7, 61, 16], { dtype: "f16", scale: 300 });
  expect(await errorOf(emulated(attention), spec, { tuning: long })).toBeLessThan(2e-3);
});

test("Tint compiles every point of the attention kernels' spaces without a warning", async () => {
  const modules: Module[] = [];
  const add = (kernel: (typeof kernels)[number], shape: AttentionShape, tuning: AttentionTuning) =>
    modules.push({
      name: JSON.stringify([kernel.name, shape, tuning]),
      source: moduleSource(kernel, shape, tuning),
      pipeline: false,
    });
  for (const kernel of kernels)
    for (const headDim of [24, 64, 128]) {
      const spec = (segments: boolean, causal: boolean) =>
        attentionLaunch(call([1, 8, 4, 512, 512, headDim], { dtype: "f16", segments, causal })).shape;
      const points = tuningSpace(kernel, spec(false, true), nvidia).filter(({ variant }) => variant === 2);
      expect(points.length).toBeGreaterThan(0);
      for (const tuning of points) add(kernel, spec(false, true), tuning);
      for (const segments of [true, false]) add(kernel, spec(segments, false), points[0]);
      for (const code of headDim === 64 ? matrixUnits : []) {
        const shape = spec(true, true);
        add(kernel, shape, kernel.pick?.(shape, { ...nvidia, ...withUnit(nvidia, unitOf(code)) }) as AttentionTuning);
      }
    }
  const said = await compile(modules);
  if (!said) return console.log("skip: the package webgpu is not installed here");
  expect(said).toEqual({});
});
