import { expect, test } from "bun:test";
import { expertCombine } from "../../kernels/expertCombine.ts";
import { choices, rowOf, tokens, weight } from "./expertRows.ts";
import { loaded, noise, runEveryPoint, stored, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();

for (const [columns, weighted, skips, sorted, dtype] of [
  [1367, true, true, true, "f32"],
  [5468, true, false, true, "f32"],
  [5468, false, true, false, "f32"],
  [1, false, false, true, "f32"],
  [5468, true, true, true, "f16"],
] as const)
  test.skipIf(dtype === "f16" && !target.f16)(
    `rows of ${columns} columns, ${dtype}, weighted ${weighted}, residual ${skips}, sorted ${sorted}`,
    async () => {
      const [x, residual] = [noise(8 * columns, 1), noise(tokens * columns, 2)];
      const arrays = {
        x: stored(x, dtype),
        ...(sorted ? { rowOf } : {}),
        ...(weighted ? { weight } : {}),
        ...(skips ? { residual: stored(residual, dtype) } : {}),
        y: stored(new Float32Array(tokens * columns + 4).fill(5), dtype),
      };
      const shape = { columns, dtype, choices, weighted, residual: skips, sorted };
      const { y } = await runEveryPoint(expertCombine, arrays, ["y"], shape, { tokens });
      const expected = Array.from({ length: tokens * columns }, (_, i) => {
        const slots = [0, 1].map((j) => Math.floor(i / columns) * choices + j);
        const part = (slot: number) =>
          x[(sorted ? rowOf[slot] : slot) * columns + (i % columns)] * (weighted ? weight[slot] : 1);
        return slots.reduce((sum, slot) => sum + part(slot), skips ? residual[i] : 0);
      });
      expect(worst(loaded(y, dtype), [...expected, 5, 5, 5, 5])).toBeLessThan(dtype === "f16" ? 4e-3 : 1e-6);
    },
  );
