import { expect, test } from "bun:test";
import { rmsNormGradient } from "../../kernels/rmsNormGradient.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([
  [1, 1],
  [3, 37],
  [4, 64],
])("dx of %p rows of %p equals float64", async (rows, columns) => {
  const [dy, x, weight] = [noise(rows * columns, 1), noise(rows * columns, 2), noise(columns, 3)];
  const rstd = noise(rows, 4).map((v) => v + 2);
  const arrays = { dy, x, weight, rstd, dx: new Float32Array(rows * columns + 4).fill(5) };
  const { dx } = await runKernel(rmsNormGradient, arrays, ["dx"], { columns, dtype: "f32" }, { rows });
  const expected = Array.from(x, (v, i) => {
    const r = Math.floor(i / columns);
    let along = 0;
    for (let c = 0; c < columns; c++) along += dy[r * columns + c] * weight[c] * x[r * columns + c];
    return rstd[r] * (dy[i] * weight[i % columns] - (v * rstd[r] ** 2 * along) / columns);
  });
  expect(worst(dx, [...expected, 5, 5, 5, 5])).toBeLessThan(1e-5);
});
