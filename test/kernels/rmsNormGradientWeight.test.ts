import { expect, test } from "bun:test";
import { rmsNormGradientWeight, WEIGHT_PIECE } from "../../kernels/rmsNormGradientWeight.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([
  [1, 1],
  [130, 70],
  [257, 5],
])("the partial sums over %p rows of %p equal float64", async (rows, columns) => {
  const [dy, x, rstd] = [noise(rows * columns, 1), noise(rows * columns, 2), noise(rows, 3)];
  const pieces = Math.ceil(rows / WEIGHT_PIECE);
  const arrays = { dy, x, rstd, partial: new Float32Array(pieces * columns + 1).fill(5) };
  const { partial } = await runKernel(rmsNormGradientWeight, arrays, ["partial"], { columns, dtype: "f32" }, { rows });
  const expected = Array.from({ length: pieces * columns }, (_, n) => {
    const [piece, c] = [Math.floor(n / columns), n % columns];
    let sum = 0;
    for (let r = piece * WEIGHT_PIECE; r < Math.min((piece + 1) * WEIGHT_PIECE, rows); r++)
      sum += dy[r * columns + c] * x[r * columns + c] * rstd[r];
    return sum;
  });
  expect(worst(partial, [...expected, 5])).toBeLessThan(1e-5);
});
