import { expect, test } from "bun:test";
import { swigluGradient } from "../../kernels/swigluGradient.ts";
import { loaded, noise, runEveryPoint, stored, worst } from "./launch.ts";
import { swigluSizes } from "./swigluSizes.ts";

test.each(swigluSizes)(
  "%p rows of %p, %p, equal float64 at every point of the tuning space",
  async (rows, columns, dtype) => {
    const x = noise(2 * rows * columns, 1).map((v) => 4 * v);
    const dy = noise(rows * columns, 2);
    const marked = new Float32Array(2 * rows * columns + 4).fill(5);
    const arrays = { x: stored(x, dtype), dy: stored(dy, dtype), dx: stored(marked, dtype) };
    const { dx } = await runEveryPoint(swigluGradient, arrays, ["dx"], { columns, dtype }, { rows });
    const expected = new Float64Array(2 * rows * columns);
    dy.forEach((slope, i) => {
      const at = i + Math.floor(i / columns) * columns;
      const s = 1 / (1 + Math.exp(-x[at]));
      expected[at] = slope * x[at + columns] * s * (1 + x[at] * (1 - s));
      expected[at + columns] = slope * x[at] * s;
    });
    expect(worst(loaded(dx, dtype), [...expected, 5, 5, 5, 5])).toBeLessThan(dtype === "f16" ? 4e-3 : 1e-6);
  },
);
