import { expect, test } from "bun:test";
import { matmulLaunch } from "../../kernels/matmul.ts";
import { matmulJoin } from "../../kernels/matmulJoin.ts";
import { noise, runKernel, worst } from "./launch.ts";
import { call } from "./matmulReference.ts";

for (const [m, n, batch, split] of [
  [3, 8, 1, 4],
  [5, 7, 2, 3],
  [1, 1, 1, 2],
] as const)
  test(`${split} parts of ${batch} × ${m} × ${n} are summed, scaled and added to`, async () => {
    const size = batch * m * n;
    const [parts, bias, residual, c] = [noise(split * size, 1), noise(n, 2), noise(size, 3), noise(size, 4)];
    const { shape } = matmulLaunch(call("NN", m, n, 4, { bias: true, residual: true, accumulate: true }));
    const uniforms = { m, n, batch, strideC: 0, alpha: 0.5 };
    const arrays = { parts, bias, residual, c };
    const { c: got } = await runKernel(matmulJoin, arrays, ["c"], { ...shape, split }, uniforms);
    const wanted = c.map((old, i) => {
      let sum = 0;
      for (let part = 0; part < split; part++) sum += parts[part * size + i];
      return 0.5 * sum + bias[i % n] + residual[i] + old;
    });
    expect(worst(got, wanted)).toBeLessThan(1e-6);
  });
