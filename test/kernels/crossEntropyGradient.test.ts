import { expect, test } from "bun:test";
import { crossEntropyGradient } from "../../kernels/crossEntropyGradient.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([false, true])(
  "is scale · (softmax − onehot) in place, ignored rows zero (a scale per row: %p)",
  async (perRow) => {
    const [rows, columns] = [3, 7];
    const x = Float32Array.of(...noise(rows * columns, 1), 99); // a mark behind
    const label = Int32Array.of(6, -100, 0);
    const lse = Float32Array.from({ length: rows }, (_, r) =>
      Math.log(Array.from(x.slice(r * columns, (r + 1) * columns)).reduce((s, v) => s + Math.exp(v), 0)),
    );
    const scale = perRow ? Float32Array.of(1, 2, 3) : Float32Array.of(0.5);
    const { x: dx } = await runKernel(
      crossEntropyGradient,
      { x, label, lse, scale },
      ["x"],
      { dtype: "f32", perRow },
      { rows, columns, ignore: -100 },
    );
    const expected = Array.from({ length: rows * columns }, (_, i) => {
      const r = Math.floor(i / columns);
      if (label[r] < 0) return 0;
      return (Math.exp(x[i] - lse[r]) - Number(label[r] === i % columns)) * scale[perRow ? r : 0];
    });
    expect(worst(dx, [...expected, 99])).toBeLessThan(1e-6);
  },
);
