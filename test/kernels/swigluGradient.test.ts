import { expect, test } from "bun:test";
import { swigluGradient } from "../../kernels/swigluGradient.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([
  [1, 1],
  [3, 7],
  [5, 64],
  [0, 4],
])("%p rows of %p equal float64", async (rows, columns) => {
  const x = noise(2 * rows * columns, 1).map((v) => 4 * v);
  const dy = noise(rows * columns, 2);
  const arrays = { x, dy, dx: new Float32Array(2 * rows * columns + 4).fill(5) };
  const { dx } = await runKernel(swigluGradient, arrays, ["dx"], { columns, dtype: "f32" }, { rows });
  const expected = new Float64Array(2 * rows * columns);
  dy.forEach((slope, i) => {
    const at = i + Math.floor(i / columns) * columns;
    const s = 1 / (1 + Math.exp(-x[at]));
    expected[at] = slope * x[at + columns] * s * (1 + x[at] * (1 - s));
    expected[at + columns] = slope * x[at] * s;
  });
  expect(worst(dx, [...expected, 5, 5, 5, 5])).toBeLessThan(1e-6);
});
