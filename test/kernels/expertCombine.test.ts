import { expect, test } from "bun:test";
import { expertCombine } from "../../kernels/expertCombine.ts";
import { choices, rowOf, tokens, weight } from "./expertRows.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([
  [7, true, true, true],
  [64, true, false, true],
  [64, false, true, false],
  [1, false, false, true],
])("rows of %p columns, weighted %p, residual %p, sorted %p", async (columns, weighted, skips, sorted) => {
  const [x, residual] = [noise(8 * columns, 1), noise(tokens * columns, 2)];
  const arrays = {
    x,
    ...(sorted ? { rowOf } : {}),
    ...(weighted ? { weight } : {}),
    ...(skips ? { residual } : {}),
    y: new Float32Array(tokens * columns + 4).fill(5),
  };
  const shape = { columns, dtype: "f32", choices, weighted, residual: skips, sorted } as const;
  const { y } = await runKernel(expertCombine, arrays, ["y"], shape, { tokens });
  const expected = Array.from({ length: tokens * columns }, (_, i) => {
    const slots = [0, 1].map((j) => Math.floor(i / columns) * choices + j);
    const part = (slot: number) =>
      x[(sorted ? rowOf[slot] : slot) * columns + (i % columns)] * (weighted ? weight[slot] : 1);
    return slots.reduce((sum, slot) => sum + part(slot), skips ? residual[i] : 0);
  });
  expect(worst(y, [...expected, 5, 5, 5, 5])).toBeLessThan(1e-6);
});
