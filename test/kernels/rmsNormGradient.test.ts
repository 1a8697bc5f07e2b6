import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { ROWS, rmsNormGradient } from "../../kernels/rmsNormGradient.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();

async function check(
  rows: number,
  columns: number,
  base: boolean,
  tuning = rmsNormGradient.pick?.(shape(columns, base), target),
) {
  const [dy, x, weight] = [noise(rows * columns, 1), noise(rows * columns, 2), noise(columns, 3)];
  const rstd = noise(rows, 4).map((v) => v + 2);
  const other = noise(rows * columns, 5);
  const pieces = Math.ceil(rows / ROWS);
  const outputs = {
    dx: new Float32Array(rows * columns + 4).fill(5),
    partial: new Float32Array(pieces * columns + 4).fill(5),
  };
  const arrays = { dy, x, weight, rstd, ...(base ? { base: other } : {}), ...outputs };
  const { dx, partial } = await runKernel(
    rmsNormGradient,
    arrays,
    ["dx", "partial"],
    shape(columns, base),
    { rows },
    tuning,
  );
  const sums = new Float64Array(pieces * columns);
  const expected = Array.from(x, (v, i) => {
    const [r, column] = [Math.floor(i / columns), i % columns];
    sums[Math.floor(r / ROWS) * columns + column] += dy[i] * v * rstd[r];
    let along = 0;
    for (let c = 0; c < columns; c++) along += dy[r * columns + c] * weight[c] * x[r * columns + c];
    return rstd[r] * (dy[i] * weight[column] - (v * rstd[r] ** 2 * along) / columns) + (base ? other[i] : 0);
  });
  expect(worst(dx, [...expected, 5, 5, 5, 5])).toBeLessThan(1e-5);
  expect(worst(partial, [...sums, 5, 5, 5, 5])).toBeLessThan(1e-5);
}

const shape = (columns: number, base: boolean) => ({ columns, dtype: "f32" as const, base });

test.each([
  [1, 1],
  [3, 37],
  [35, 64],
  [2, 260],
])("dx and dweight of %p rows of %p equal float64", async (rows, columns) => {
  await check(rows, columns, false);
  await check(rows, columns, true);
});

for (const tuning of tuningSpace(rmsNormGradient, shape(64, true), target))
  test(`tuned to ${JSON.stringify(tuning)} they equal float64`, () => check(18, 64, true, tuning));
