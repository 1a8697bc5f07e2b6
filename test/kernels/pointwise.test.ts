import { expect, test } from "bun:test";
import { pointwise } from "../../kernels/pointwise.ts";
import { noise, runEveryPoint, runKernel, worst } from "./launch.ts";

const zero = Object.fromEntries(Object.keys(pointwise.uniforms ?? {}).map((name) => [name, 0]));

test.each([
  [1, false],
  [67, false],
  [68, true],
  [4096, true],
])("a flat launch of %p elements (by fours: %p) writes those and no more", async (n, vec4) => {
  const [a, b] = [noise(n, 1), noise(n, 2)];
  const y = new Float32Array(n + 4).fill(9);
  const shape = { expr: "a * b + u.s", types: "f32,f32>f32", rank: 0, vec4, update: false };
  const out = await runKernel(pointwise, { a, b, y }, ["y"], shape, { ...zero, n, s: 0.5 });
  expect(worst(out.y, [...Array.from(a, (v, i) => v * b[i] + 0.5), 9, 9, 9, 9])).toBeLessThan(1e-6);
});

test.each([
  [16_404, 0, true],
  [4163, 0, false],
  [4163, 1, false],
])(
  "every point of the tuning space writes %p elements and no more (axes walked: %p, by fours: %p)",
  async (n, rank, vec4) => {
    const a = noise(n, 1);
    const arrays = { a, y: new Float32Array(n + 4).fill(9) };
    const shape = { expr: "a + u.s", types: "f32>f32", rank, vec4, update: false };
    const { y } = await runEveryPoint(pointwise, arrays, ["y"], shape, { ...zero, n, s: 1, d0: n, a0: 1, y0: 1 });
    expect(worst(y, [...Array.from(a, (v) => v + 1), 9, 9, 9, 9])).toBeLessThan(1e-6);
  },
);

test("an update reads what is there", async () => {
  const [a, y] = [noise(8, 1), noise(8, 2)];
  const shape = { expr: "old + a", types: "f32>f32", rank: 0, vec4: true, update: true };
  const out = await runKernel(pointwise, { a, y }, ["y"], shape, { ...zero, n: 8 });
  expect(
    worst(
      out.y,
      Array.from(a, (v, i) => v + y[i]),
    ),
  ).toBeLessThan(1e-6);
});

test("a strided launch walks operands and result by their own strides and starts", async () => {
  // y is a window of a larger array: rows 1 and 2, columns 1 to 3 of 4 × 5; a is read transposed
  const a = noise(6, 1); // [3, 2]
  const y = new Float32Array(20);
  const shape = { expr: "a", types: "f32>f32", rank: 2, vec4: false, update: false };
  const out = await runKernel(pointwise, { a, y }, ["y"], shape, {
    ...zero,
    n: 6,
    d0: 2,
    d1: 3,
    a0: 1,
    a1: 2,
    y0: 5,
    y1: 1,
    yAt: 6,
  });
  const expected = new Array(20).fill(0);
  for (let r = 0; r < 2; r++) for (let c = 0; c < 3; c++) expected[6 + r * 5 + c] = a[c * 2 + r];
  expect([...out.y]).toEqual(expected);
});
