import { expect, test } from "bun:test";
import { swiglu } from "../../kernels/swiglu.ts";
import { loaded, noise, runEveryPoint, stored, worst } from "./launch.ts";
import { swigluSizes } from "./swigluSizes.ts";

test.each(swigluSizes)(
  "%p rows of %p, %p, equal float64 at every point of the tuning space",
  async (rows, columns, dtype) => {
    const x = noise(2 * rows * columns, 1).map((v) => 4 * v);
    const arrays = { x: stored(x, dtype), y: stored(new Float32Array(rows * columns + 4).fill(5), dtype) };
    const { y } = await runEveryPoint(swiglu, arrays, ["y"], { columns, dtype }, { rows });
    const expected = Array.from({ length: rows * columns }, (_, i) => {
      const at = i + Math.floor(i / columns) * columns;
      return (x[at] / (1 + Math.exp(-x[at]))) * x[at + columns];
    });
    expect(worst(loaded(y, dtype), [...expected, 5, 5, 5, 5])).toBeLessThan(dtype === "f16" ? 4e-3 : 1e-6);
  },
);
