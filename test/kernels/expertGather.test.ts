import { expect, test } from "bun:test";
import { expertGather } from "../../kernels/expertGather.ts";
import { NO_GROUP } from "../../kernels/shared/matmulParts.ts";
import { choices, slotOf, tokens, weight } from "./expertRows.ts";
import { noise, runKernel, worst } from "./launch.ts";

for (const weighted of [false, true])
  test.each([1, 7, 64])(`rows of %p columns, weighted: ${weighted}; zeros where there is no slot`, async (columns) => {
    const x = noise(tokens * columns, 1);
    const arrays = { x, slotOf, ...(weighted ? { weight } : {}), y: new Float32Array(8 * columns + 4).fill(5) };
    const shape = { columns, dtype: "f32", choices, weighted } as const;
    const { y } = await runKernel(expertGather, arrays, ["y"], shape, { rows: 8 });
    const expected = Array.from({ length: 8 * columns }, (_, i) => {
      const slot = slotOf[Math.floor(i / columns)];
      if (slot === NO_GROUP) return 0;
      return x[(slot >> 1) * columns + (i % columns)] * (weighted ? weight[slot] : 1);
    });
    expect(worst(y, [...expected, 5, 5, 5, 5])).toBeLessThan(1e-6);
  });
