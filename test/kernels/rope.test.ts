import { expect, test } from "bun:test";
import { rope } from "../../kernels/rope.ts";
import { noise, runKernel, worst } from "./launch.ts";

const [tokens, heads, headDim, length] = [6, 3, 10, 3];
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

test.each([1, -1])("turns by offset and place in the row, in direction %p", async (direction) => {
  const arrays = { x, table, y: new Float32Array(x.length + 1).fill(5) };
  const { y } = await runKernel(
    rope,
    arrays,
    ["y"],
    { headDim, dtype: "f32", positions: false },
    { tokens, heads, length, offset: 2, direction },
  );
  expect(worst(y, [...turned((t) => 2 + (t % length), direction), 5])).toBeLessThan(1e-6);
});

test("turns by positions given", async () => {
  const position = Int32Array.of(4, 0, 15, 1, 1, 9);
  const arrays = { x, table, position, y: new Float32Array(x.length) };
  const { y } = await runKernel(
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
