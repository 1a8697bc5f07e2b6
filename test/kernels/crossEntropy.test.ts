import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { crossEntropy } from "../../kernels/crossEntropy.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const gpu = await testGpu();

test.each(tuningSpace(crossEntropy, { dtype: "f32" }, gpu.target).map((t) => [t] as const))(
  "tuning %p gives float64's losses",
  async (tuning) => {
    const [rows, columns] = [5, 37];
    const x = noise(rows * columns, 1).map((v) => v * 20);
    const label = Int32Array.of(3, -100, 36, 0, 12);
    const arrays = { x, label, loss: new Float32Array(rows + 1).fill(7), lse: new Float32Array(rows + 1).fill(7) };
    const { loss, lse } = await runKernel(
      crossEntropy,
      arrays,
      ["loss", "lse"],
      { dtype: "f32" },
      { rows, columns, ignore: -100 },
      tuning,
    );
    const sums = Array.from({ length: rows }, (_, r) =>
      Math.log(Array.from(x.slice(r * columns, (r + 1) * columns)).reduce((s, v) => s + Math.exp(v), 0)),
    );
    expect(worst(lse, [...sums, 7])).toBeLessThan(1e-5);
    expect(worst(loss, [...sums.map((s, r) => (label[r] < 0 ? 0 : s - x[r * columns + label[r]])), 7])).toBeLessThan(
      1e-5,
    );
  },
);

test("a label outside the columns gives NaN", async () => {
  const arrays = { x: noise(4), label: Int32Array.of(4), loss: new Float32Array(1), lse: new Float32Array(1) };
  const { loss } = await runKernel(
    crossEntropy,
    arrays,
    ["loss"],
    { dtype: "f32" },
    { rows: 1, columns: 4, ignore: -100 },
  );
  expect(loss[0]).toBeNaN();
});
