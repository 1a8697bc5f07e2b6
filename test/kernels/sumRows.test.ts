import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { sumRows } from "../../kernels/sumRows.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();

for (const tuning of tuningSpace(sumRows, { accumulate: true }, target))
  test.each([
    [1, 1, 0],
    [17, 33, 2],
    [130, 70, 0],
    [0, 5, 1],
  ])(`${JSON.stringify(tuning)}: %p rows of %p from row %p, equal float64`, async (rows, columns, start) => {
    const [x, before] = [noise((start + rows + 1) * columns, 1), noise(columns, 2)];
    for (const accumulate of [true, false]) {
      const arrays = { x, y: Float32Array.of(...before, 5, 5) };
      const { y } = await runKernel(sumRows, arrays, ["y"], { accumulate }, { start, rows, columns }, tuning);
      const expected = Array.from({ length: columns }, (_, c) => {
        let sum = accumulate ? before[c] : 0;
        for (let r = start; r < start + rows; r++) sum += x[r * columns + c];
        return sum;
      });
      expect(worst(y, [...expected, 5, 5])).toBeLessThan(1e-5);
    }
  });
