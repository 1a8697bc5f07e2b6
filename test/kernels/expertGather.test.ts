import { expect, test } from "bun:test";
import { expertGather } from "../../kernels/expertGather.ts";
import { NO_GROUP } from "../../kernels/shared/matmulParts.ts";
import { choices, slotOf, tokens, weight } from "./expertRows.ts";
import { loaded, noise, runEveryPoint, stored, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();

for (const [columns, weighted, dtype] of [
  [1, true, "f32"],
  [1033, false, "f32"],
  [2068, false, "f32"],
  [2068, true, "f32"],
  [2068, true, "f16"],
] as const)
  test.skipIf(dtype === "f16" && !target.f16)(
    `rows of ${columns} columns, ${dtype}, weighted: ${weighted}; zeros where there is no slot`,
    async () => {
      const x = noise(tokens * columns, 1);
      const marked = stored(new Float32Array(8 * columns + 4).fill(5), dtype);
      const arrays = { x: stored(x, dtype), slotOf, ...(weighted ? { weight } : {}), y: marked };
      const shape = { columns, dtype, choices, weighted };
      const { y } = await runEveryPoint(expertGather, arrays, ["y"], shape, { rows: 8 });
      const expected = Array.from({ length: 8 * columns }, (_, i) => {
        const slot = slotOf[Math.floor(i / columns)];
        if (slot === NO_GROUP) return 0;
        return x[(slot >> 1) * columns + (i % columns)] * (weighted ? weight[slot] : 1);
      });
      expect(worst(loaded(y, dtype), [...expected, 5, 5, 5, 5])).toBeLessThan(dtype === "f16" ? 2e-3 : 1e-6);
    },
  );
