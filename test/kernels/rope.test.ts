import { expect, test } from "bun:test";
import { rope } from "../../kernels/rope.ts";
import { loaded, noise, runEveryPoint, stored, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();
const [tokens, heads, headDim, length] = [45, 19, 10, 3]; // more pairs than the largest workgroup takes
const angles = Array.from({ length: 16 * 5 }, (_, i) => i * 0.37);
const table = Float32Array.from(angles.flatMap((a) => [Math.cos(a), Math.sin(a)]));
const x = noise(tokens * heads * headDim, 1);

const turned = (place: (token: number) => number, direction: number) =>
  Array.from(x, (v, i) => {
    const d = i % headDim;
    const token = Math.floor(i / headDim / heads);
    const a = angles[place(token) * 5 + (d % 5)];
    return d < 5
      ? v * Math.cos(a) - direction * x[i + 5] * Math.sin(a)
      : v * Math.cos(a) + direction * x[i - 5] * Math.sin(a);
  });

for (const [direction, dtype] of [
  [1, "f32"],
  [-1, "f32"],
  [1, "f16"],
] as const)
  test.skipIf(dtype === "f16" && !target.f16)(
    `turns by offset and place in the row, in direction ${direction}, ${dtype}, at every point of the tuning space`,
    async () => {
      const marked = new Float32Array(x.length + 2).fill(5);
      const { y } = await runEveryPoint(
        rope,
        { x: stored(x, dtype), table, y: stored(marked, dtype) },
        ["y"],
        { headDim, dtype, positions: false },
        { tokens, heads, length, offset: 2, direction },
      );
      const expected = [...turned((t) => 2 + (t % length), direction), 5, 5];
      expect(worst(loaded(y, dtype), expected)).toBeLessThan(dtype === "f16" ? 2e-3 : 1e-6);
    },
  );

test("turns by positions given", async () => {
  const position = Int32Array.from({ length: tokens }, (_, t) => (t * 7) % 16);
  const arrays = { x, table, position, y: new Float32Array(x.length) };
  const { y } = await runEveryPoint(
    rope,
    arrays,
    ["y"],
    { headDim, dtype: "f32", positions: true },
    { tokens, heads, length, offset: 0, direction: 1 },
  );
  expect(
    worst(
      y,
      turned((t) => position[t], 1),
    ),
  ).toBeLessThan(1e-6);
});
