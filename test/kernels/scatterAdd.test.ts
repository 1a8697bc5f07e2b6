import { expect, test } from "bun:test";
import { scatterAdd } from "../../kernels/scatterAdd.ts";
import { noise, runKernel, worst } from "./launch.ts";

const shape = { dtype: "f32", index: "i32" } as const;
const walk = { outer: 2, length: 19, inner: 5, count: 50, so: 50, sj: 1, si: 0 };
const arrays = () => ({
  x: noise(2 * 50 * 5, 1),
  index: Int32Array.from({ length: 100 }, (_, i) => (i * i) % 23), // some repeat, some lie outside
  y: noise(2 * 19 * 5 + 1, 2),
});

test.each([16, 64, 128])(
  "in %p parts adds every slice at its place, repeated ones too, and leaves out those outside",
  async (parts) => {
    const { x, index, y } = arrays();
    const out = await runKernel(scatterAdd, arrays(), ["y"], shape, walk, { parts });
    const expected = Array.from(y);
    for (let o = 0; o < 2; o++) {
      for (let j = 0; j < 50; j++) {
        const at = index[o * 50 + j];
        for (let i = 0; i < 5 && at < 19; i++) expected[(o * 19 + at) * 5 + i] += x[(o * 50 + j) * 5 + i];
      }
    }
    expect(worst(out.y, expected)).toBeLessThan(1e-6);
  },
);

test("gives the same bits every time, in any number of parts", async () => {
  const runs = [
    await runKernel(scatterAdd, arrays(), ["y"], shape, walk, { parts: 16 }),
    await runKernel(scatterAdd, arrays(), ["y"], shape, walk, { parts: 64 }),
  ];
  expect([...runs[0].y]).toEqual([...runs[1].y]);
});
