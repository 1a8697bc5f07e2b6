import { expect, test } from "bun:test";
import { adamw } from "../../kernels/adamw.ts";
import { noise, runEveryPoint, runKernel, worst } from "./launch.ts";

const uniforms = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
const MARK = 77;
const arrays = (n: number, control: number[]) => ({
  p: Float32Array.of(...noise(n, 1), MARK),
  g: noise(n + 1, 2),
  m: Float32Array.of(...noise(n, 3), MARK),
  v: Float32Array.of(...noise(n, 4).map(Math.abs), MARK),
  control: Float32Array.from(control),
});

test.each([1, 67, 16_451])(
  "a step of %p parameters equals float64 at every point of the tuning space and writes nothing behind them",
  async (n) => {
    const given = arrays(n, [0.5, 9, 1, 4]);
    const out = await runEveryPoint(adamw, given, ["p", "m", "v"], {}, { n, ...uniforms });
    const expected = Array.from({ length: n }, (_, i) => {
      const g = given.g[i] * 0.5;
      const m = 0.9 * given.m[i] + 0.1 * g;
      const v = 0.95 * given.v[i] + 0.05 * g * g;
      const [mHat, vHat] = [m / (1 - 0.9 ** 4), v / (1 - 0.95 ** 4)];
      return { m, v, p: given.p[i] * (1 - 0.001) - (0.01 * mHat) / (Math.sqrt(vHat) + 1e-8) };
    });
    for (const name of ["p", "m", "v"] as const)
      expect(worst(out[name], [...expected.map((e) => e[name]), MARK])).toBeLessThan(1e-5);
  },
);

test("a step that does not count changes nothing", async () => {
  const given = arrays(9, [1, Number.NaN, 0, 4]);
  const out = await runKernel(adamw, given, ["p", "m", "v"], {}, { n: 9, ...uniforms });
  for (const name of ["p", "m", "v"] as const) expect([...out[name]]).toEqual([...given[name]]);
});
