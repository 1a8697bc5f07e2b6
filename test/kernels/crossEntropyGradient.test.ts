import { expect, test } from "bun:test";
import { crossEntropyGradient } from "../../kernels/crossEntropyGradient.ts";
import { noise, runEveryPoint, testGpu, worst } from "./launch.ts";

test.each([
  [7, false],
  [4099, true], // in several pieces
])(
  "of %p columns it is scale · (softmax − onehot) in place, ignored rows zero (a scale per row: %p)",
  async (columns, perRow) => {
    const rows = 3;
    const x = Float32Array.of(...noise(rows * columns, 1), 99); // a mark behind
    const label = Int32Array.of(6, -100, 0);
    const lse = Float32Array.from({ length: rows }, (_, r) =>
      Math.log(Array.from(x.slice(r * columns, (r + 1) * columns)).reduce((s, v) => s + Math.exp(v), 0)),
    );
    const scale = perRow ? Float32Array.of(1, 2, 3) : Float32Array.of(0.5);
    const { x: dx } = await runEveryPoint(
      crossEntropyGradient,
      { x, label, lse, scale },
      ["x"],
      { dtype: "f32", perRow, halved: false },
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

test.skipIf(!(await testGpu()).target.f16)("in f16 it goes to a buffer of its own, rounded once", async () => {
  const [rows, columns] = [2, 5];
  const x = noise(rows * columns, 1);
  const arrays = {
    x,
    label: Int32Array.of(1, -100),
    lse: Float32Array.of(1.5, 2),
    half: new Uint16Array(12).fill(0x4500),
  };
  const out = await runEveryPoint(
    crossEntropyGradient,
    { ...arrays, scale: Float32Array.of(64) },
    ["x", "half"],
    { dtype: "f32", perRow: false, halved: true },
    { rows, columns, ignore: -100 },
  );
  expect([...out.x]).toEqual([...x]);
  const expected = Array.from({ length: 12 }, (_, i) => {
    if (i >= 10) return 5;
    return i < columns ? 64 * (Math.exp(x[i] - 1.5) - Number(i === 1)) : 0;
  });
  expect(worst(new Float16Array(out.half.buffer), expected)).toBeLessThan(5e-4);
});
