import { expect, test } from "bun:test";
import { type Reduction, reduce } from "../../kernels/reduce.ts";
import { noise, runKernel, worst } from "./launch.ts";

const of: Record<string, (xs: number[]) => number> = {
  sum: (xs) => xs.reduce((a, b) => a + b, 0),
  sumSquares: (xs) => xs.reduce((a, b) => a + b * b, 0),
  max: (xs) => Math.max(...xs),
  min: (xs) => Math.min(...xs),
};

for (const [op, f] of Object.entries(of)) {
  test.each([
    [2, 7, 3, 7, false],
    [3, 200, 1, 200, true],
    [1, 50, 2, 16, false],
    [1, 333, 1, 128, true],
  ])(
    `${op} of [%p, %p, %p] in pieces of %p (lanes together: %p) equals float64`,
    async (outer, length, inner, piece, together) => {
      const pieces = Math.ceil(length / piece);
      const x = noise(outer * length * inner, 1);
      const y = new Float32Array(outer * pieces * inner + 1).fill(5);
      const out = await runKernel(
        reduce,
        { x, y },
        ["y"],
        { op: op as Reduction, x: "f32", y: "f32", together },
        { outer, length, inner, piece, pieces },
      );
      const expected = Array.from({ length: outer * pieces * inner }, (_, n) => {
        const [o, p, i] = [Math.floor(n / inner / pieces), Math.floor(n / inner) % pieces, n % inner];
        const xs: number[] = [];
        for (let k = p * piece; k < Math.min((p + 1) * piece, length); k++) xs.push(x[(o * length + k) * inner + i]);
        return f(xs);
      });
      expect(worst(out.y, [...expected, 5])).toBeLessThan(1e-5);
    },
  );
}

test.each([true, false])(
  "every number of lanes gives the same maximum and near the same sum (together: %p)",
  async (together) => {
    const x = noise(3 * 333, 1);
    const sums = [0, 1, 2].map((row) => x.subarray(row * 333, (row + 1) * 333).reduce((a, b) => a + b, 0));
    const tops = [0, 1, 2].map((row) => Math.max(...x.subarray(row * 333, (row + 1) * 333)));
    const sizes = { outer: 3, length: 333, inner: 1, piece: 333, pieces: 1 };
    for (const [op, expected] of [
      ["sum", sums],
      ["max", tops],
    ] as const)
      for (const lanes of [8, 16, 32, 64, 128, 256]) {
        const shape = { op, x: "f32", y: "f32", together } as const;
        const { y } = await runKernel(reduce, { x, y: new Float32Array(3) }, ["y"], shape, sizes, { lanes });
        expect([lanes, worst(y, expected)]).toEqual([lanes, expect.closeTo(0, 5)]);
      }
  },
);

test.each([true, false])("argmax gives the first of equals (lanes together: %p)", async (together) => {
  const x = new Float32Array(300);
  x[5] = x[70] = x[290] = 3;
  const shape = { op: "argmax", x: "f32", y: "i32", together } as const;
  const { y } = await runKernel(reduce, { x, y: new Float32Array(1) }, ["y"], shape, {
    outer: 1,
    length: 300,
    inner: 1,
    piece: 300,
    pieces: 1,
  });
  expect(new Int32Array(y.buffer)[0]).toBe(5);
});

test("a NaN is not lost in a maximum", async () => {
  const x = noise(10, 1);
  x[3] = Number.NaN;
  const { y } = await runKernel(
    reduce,
    { x, y: new Float32Array(1) },
    ["y"],
    { op: "max", x: "f32", y: "f32", together: false },
    { outer: 1, length: 10, inner: 1, piece: 10, pieces: 1 },
  );
  expect(y[0]).toBeNaN();
});
