import { expect, test } from "bun:test";
import { gather } from "../../kernels/gather.ts";
import { loaded, noise, runEveryPoint, runKernel, stored, testGpu } from "./launch.ts";

const { target } = await testGpu();

for (const [inner, fours, dtype] of [
  [71, false, "f32"],
  [284, true, "f32"],
  [284, true, "f16"],
] as const)
  test.skipIf(dtype === "f16" && !target.f16)(
    `picks slices of the middle axis by any strides of the index, ${inner} elements, ${dtype}, at every point of the tuning space`,
    async () => {
      const [outer, length, count] = [2, 5, 31];
      const x = Float32Array.from({ length: outer * length * inner }, (_, i) => i % 2039); // f16 holds these
      for (const [so, sj, si] of [[0, 1, 0], ...(fours ? [] : [[count * inner, inner, 1]])]) {
        const index = Int32Array.from({ length: outer * count * inner }, (_, i) => (i * 7) % length);
        const marked = new Float32Array(outer * count * inner + 4).fill(5);
        const arrays = { x: stored(x, dtype), index, y: stored(marked, dtype) };
        const walk = { outer, length, inner, count, so, sj, si };
        const { y } = await runEveryPoint(gather, arrays, ["y"], { dtype, index: "i32", fours }, walk);
        const expected = Array.from({ length: outer * count * inner }, (_, n) => {
          const [o, j, i] = [Math.floor(n / inner / count), Math.floor(n / inner) % count, n % inner];
          return x[(o * length + index[o * so + j * sj + i * si]) * inner + i];
        });
        expect([...loaded(y, dtype)]).toEqual([...expected, 5, 5, 5, 5]);
      }
    },
  );

test.each([2, 4])("an index outside gives NaN in each of a row's %p elements", async (inner) => {
  const arrays = { x: noise(3 * inner), index: Int32Array.of(3, -1, 2), y: new Float32Array(3 * inner) };
  const shape = { dtype: "f32", index: "i32", fours: inner === 4 } as const;
  const walk = { outer: 1, length: 3, inner, count: 3, so: 0, sj: 1, si: 0 };
  const { y } = await runKernel(gather, arrays, ["y"], shape, walk);
  expect([...y].map(Number.isNaN)).toEqual(Array.from(y, (_, i) => i < 2 * inner));
});

test("no rows are none", async () => {
  const arrays = { x: noise(8), index: Int32Array.of(0), y: Float32Array.of(5, 5, 5, 5) };
  const shape = { dtype: "f32", index: "i32", fours: true } as const;
  const walk = { outer: 1, length: 2, inner: 4, count: 0, so: 0, sj: 1, si: 0 };
  const { y } = await runEveryPoint(gather, arrays, ["y"], shape, walk);
  expect([...y]).toEqual([5, 5, 5, 5]);
});
