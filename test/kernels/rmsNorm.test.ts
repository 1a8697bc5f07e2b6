import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { rmsNorm } from "../../kernels/rmsNorm.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const gpu = await testGpu();
const reference = (x: Float32Array, weight: Float32Array, columns: number) => {
  const rows = x.length / columns;
  const rstd = Array.from(
    { length: rows },
    (_, r) =>
      1 /
      Math.sqrt(Array.from(x.slice(r * columns, (r + 1) * columns)).reduce((s, v) => s + v * v, 0) / columns + 1e-6),
  );
  return { rstd, y: Array.from(x, (v, i) => v * rstd[Math.floor(i / columns)] * weight[i % columns]) };
};

for (const columns of [1, 37, 64]) {
  test.each(tuningSpace(rmsNorm, { columns, dtype: "f32" }, gpu.target).map((t) => [t] as const))(
    `rows of ${columns} under %p equal float64`,
    async (tuning) => {
      const rows = 5;
      const [x, weight] = [noise(rows * columns, 1), noise(columns, 2)];
      const arrays = {
        x,
        weight,
        y: new Float32Array(rows * columns + 4).fill(5),
        rstd: new Float32Array(rows + 1).fill(5),
      };
      const out = await runKernel(
        rmsNorm,
        arrays,
        ["y", "rstd"],
        { columns, dtype: "f32" },
        { rows, eps: 1e-6 },
        tuning,
      );
      const expected = reference(x, weight, columns);
      expect(worst(out.y, [...expected.y, 5, 5, 5, 5])).toBeLessThan(1e-5);
      expect(worst(out.rstd, [...expected.rstd, 5])).toBeLessThan(1e-5);
    },
  );
}
