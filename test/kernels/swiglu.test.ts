import { expect, test } from "bun:test";
import { swiglu } from "../../kernels/swiglu.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([
  [1, 1],
  [3, 7],
  [5, 64],
  [0, 4],
])("%p rows of %p equal float64", async (rows, columns) => {
  const x = noise(2 * rows * columns, 1).map((v) => 4 * v);
  const arrays = { x, y: new Float32Array(rows * columns + 4).fill(5) };
  const { y } = await runKernel(swiglu, arrays, ["y"], { columns, dtype: "f32" }, { rows });
  const expected = Array.from({ length: rows * columns }, (_, i) => {
    const at = i + Math.floor(i / columns) * columns;
    return (x[at] / (1 + Math.exp(-x[at]))) * x[at + columns];
  });
  expect(worst(y, [...expected, 5, 5, 5, 5])).toBeLessThan(1e-6);
});
