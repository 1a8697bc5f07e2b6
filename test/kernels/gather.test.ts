import { expect, test } from "bun:test";
import { gather } from "../../kernels/gather.ts";
import { noise, runKernel } from "./launch.ts";

const shape = { dtype: "f32", index: "i32" } as const;

test("picks slices of the middle axis by any strides of the index", async () => {
  const [outer, length, inner, count] = [2, 5, 3, 4];
  const x = noise(outer * length * inner, 1);
  for (const [so, sj, si] of [
    [0, 1, 0],
    [count * inner, inner, 1],
  ]) {
    const index = Int32Array.from({ length: outer * count * inner }, (_, i) => (i * 7) % length);
    const y = new Float32Array(outer * count * inner + 1).fill(5);
    const out = await runKernel(gather, { x, index, y }, ["y"], shape, { outer, length, inner, count, so, sj, si });
    const expected = Array.from({ length: outer * count * inner }, (_, n) => {
      const [o, j, i] = [Math.floor(n / inner / count), Math.floor(n / inner) % count, n % inner];
      return x[(o * length + index[o * so + j * sj + i * si]) * inner + i];
    });
    expect([...out.y]).toEqual([...expected, 5]);
  }
});

test("an index outside gives NaN", async () => {
  const arrays = { x: noise(6), index: Int32Array.of(3, -1, 2), y: new Float32Array(6) };
  const { y } = await runKernel(gather, arrays, ["y"], shape, {
    outer: 1,
    length: 3,
    inner: 2,
    count: 3,
    so: 0,
    sj: 1,
    si: 0,
  });
  expect([...y].map(Number.isNaN)).toEqual([true, true, true, true, false, false]);
});
