import { expect, test } from "bun:test";
import { expertDots } from "../../kernels/expertDots.ts";
import { choices, rowOf, tokens } from "./expertRows.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([
  [7, undefined],
  [64, undefined],
  [200, { lanes: 32, subgroup: 0 }],
])("of %p columns equal float64 (%p)", async (columns, tuning) => {
  const [x, dy] = [noise(8 * columns, 1), noise(tokens * columns, 2)];
  const arrays = { x, dy, rowOf, y: new Float32Array(8).fill(5) };
  const { y } = await runKernel(expertDots, arrays, ["y"], { columns, dtype: "f32", choices }, { slots: 6 }, tuning);
  const expected = Array.from({ length: 6 }, (_, slot) => {
    let sum = 0;
    for (let c = 0; c < columns; c++) sum += x[rowOf[slot] * columns + c] * dy[(slot >> 1) * columns + c];
    return sum;
  });
  expect(worst(y, [...expected, 5, 5])).toBeLessThan(1e-5);
});
