import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { adamw } from "../../kernels/adamw.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const uniforms = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
const MARK = 77;
const arrays = (n: number, control: number[]) => ({
  p: Float32Array.of(...noise(n, 1), MARK),
  g: noise(n + 1, 2),
  m: Float32Array.of(...noise(n, 3), MARK),
  v: Float32Array.of(...noise(n, 4).map(Math.abs), MARK),
  control: Float32Array.from(control),
});

test.each([1, 67, 1031])("a step of %p parameters equals float64 and writes nothing behind them", async (n) => {
  const given = arrays(n, [0.5, 9, 1, 4]);
  const out = await runKernel(adamw, given, ["p", "m", "v"], {}, { n, ...uniforms });
  const expected = Array.from({ length: n }, (_, i) => {
    const g = given.g[i] * 0.5;
    const m = 0.9 * given.m[i] + 0.1 * g;
    const v = 0.95 * given.v[i] + 0.05 * g * g;
    const [mHat, vHat] = [m / (1 - 0.9 ** 4), v / (1 - 0.95 ** 4)];
    return { m, v, p: given.p[i] * (1 - 0.001) - (0.01 * mHat) / (Math.sqrt(vHat) + 1e-8) };
  });
  for (const name of ["p", "m", "v"] as const)
    expect(worst(out[name], [...expected.map((e) => e[name]), MARK])).toBeLessThan(1e-5);
});

test("every point of the tuning space gives the same bits", async () => {
  const given = arrays(67, [0.5, 9, 1, 4]);
  const points = tuningSpace(adamw, {}, (await testGpu()).target);
  const outs = [];
  for (const tuning of points)
    outs.push(await runKernel(adamw, given, ["p", "m", "v"], {}, { n: 67, ...uniforms }, tuning));
  expect(points.length).toBe(6);
  for (const out of outs) expect(out).toEqual(outs[0]);
});

test("a step that does not count changes nothing", async () => {
  const given = arrays(9, [1, Number.NaN, 0, 4]);
  const out = await runKernel(adamw, given, ["p", "m", "v"], {}, { n: 9, ...uniforms });
  for (const name of ["p", "m", "v"] as const) expect([...out[name]]).toEqual([...given[name]]);
});
