import { expect, test } from "bun:test";
import { cumsum } from "../../kernels/cumsum.ts";
import { noise, runKernel, worst } from "./launch.ts";

test.each([false, true])("runs along the middle axis (reversed: %p) and stays in its rows", async (reverse) => {
  const [outer, length, inner] = [3, 11, 5];
  const x = noise(outer * length * inner, 1);
  const y = new Float32Array(x.length + 1).fill(5);
  const out = await runKernel(cumsum, { x, y }, ["y"], { dtype: "f32", reverse }, { outer, length, inner });
  const expected = new Float64Array(x.length);
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      let sum = 0;
      for (let k = 0; k < length; k++) {
        const at = (o * length + (reverse ? length - 1 - k : k)) * inner + i;
        sum += x[at];
        expected[at] = sum;
      }
    }
  }
  expect(worst(out.y, [...expected, 5])).toBeLessThan(1e-6);
});
