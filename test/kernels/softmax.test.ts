import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { softmax } from "../../kernels/softmax.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const gpu = await testGpu();

for (const log of [false, true]) {
  test.each(tuningSpace(softmax, { dtype: "f32", log }, gpu.target).map((t) => [t] as const))(
    `${log ? "log-softmax" : "softmax"} under %p equals float64`,
    async (tuning) => {
      const [rows, columns] = [3, 41];
      const x = noise(rows * columns, 1).map((v) => v * 30);
      const arrays = { x, y: new Float32Array(x.length + 1).fill(5) };
      const { y } = await runKernel(softmax, arrays, ["y"], { dtype: "f32", log }, { rows, columns }, tuning);
      const expected = Array.from(x, (v, i) => {
        const row = x.slice(Math.floor(i / columns) * columns, (Math.floor(i / columns) + 1) * columns);
        const p = Math.exp(v) / row.reduce((s, r) => s + Math.exp(r), 0);
        return log ? Math.log(p) : p;
      });
      expect(worst(y, [...expected, 5])).toBeLessThan(5e-6);
    },
  );
}
