import { expect, test } from "bun:test";
import { topK } from "../../kernels/topK.ts";
import { noise, runKernel } from "./launch.ts";

test.each([
  [1, 1, 1],
  [70, 4, 1],
  [5, 7, 3],
  [3, 6, 6],
  [0, 4, 2],
])("%p rows of %p: the %p largest, in order", async (rows, columns, k) => {
  const x = noise(rows * columns, 1).map((v) => Math.round(v * 3)); // many are equal: the first wins
  const arrays = { x, index: new Uint32Array(rows * k + 2).fill(77) };
  const { index } = await runKernel(topK, arrays, ["index"], {}, { rows, columns, k });
  const expected = Array.from({ length: rows }, (_, r) =>
    Array.from({ length: columns }, (_, c) => c)
      .sort((a, b) => x[r * columns + b] - x[r * columns + a] || a - b)
      .slice(0, k),
  ).flat();
  expect([...new Uint32Array(index.buffer)]).toEqual([...expected, 77, 77]);
});

test("names a column that there is where all are NaN", async () => {
  const arrays = { x: new Float32Array(4).fill(Number.NaN), index: new Uint32Array(2) };
  const { index } = await runKernel(topK, arrays, ["index"], {}, { rows: 1, columns: 4, k: 2 });
  for (const at of new Uint32Array(index.buffer)) expect(at).toBeLessThan(4);
});
