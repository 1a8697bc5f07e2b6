import { expect, test } from "bun:test";
import { cacheAppend } from "../../kernels/cacheAppend.ts";
import { noise, runEveryPoint, runKernel, testGpu } from "./launch.ts";

const { target } = await testGpu();

for (const [tokens, size] of [
  [1, 8],
  [3, 1900], // more than the largest workgroup takes, by fours and by single elements
  [2, 5],
  [2, 797],
  [0, 8],
])
  test(`${tokens} tokens of ${size} elements go behind what each row holds, and nowhere else, at every point of the tuning space`, async () => {
    const [batch, capacity] = [3, 6];
    const lengths = Int32Array.of(0, 2, 5);
    const [k, v] = [noise(batch * tokens * size, 1), noise(batch * tokens * size, 2)];
    const empty = () => new Float32Array(batch * capacity * size + 8).fill(7);
    const wide = size % 4 === 0;
    const { cacheK, cacheV } = await runEveryPoint(
      cacheAppend,
      { k, v, lengths, cacheK: empty(), cacheV: empty() },
      ["cacheK", "cacheV"],
      { dtype: "f32", wide },
      { batch, tokens, size: wide ? size / 4 : size, capacity },
    );
    for (const [cache, from] of [
      [cacheK, k],
      [cacheV, v],
    ]) {
      const expected = empty();
      for (let row = 0; row < batch; row++)
        for (
          let t = 0;
          t < tokens && lengths[row] + t < capacity;
          t++ // what finds no room is dropped
        )
          expected.set(
            from.subarray((row * tokens + t) * size).subarray(0, size),
            (row * capacity + lengths[row] + t) * size,
          );
      expect([...cache]).toEqual([...expected]);
    }
  });

test.skipIf(!target.f16)("f16", async () => {
  const k = new Uint16Array(Float16Array.from(noise(4, 1)).buffer);
  const { cacheK } = await runKernel(
    cacheAppend,
    { k, v: k, lengths: Int32Array.of(1), cacheK: new Uint16Array(8), cacheV: new Uint16Array(8) },
    ["cacheK"],
    { dtype: "f16", wide: true },
    { batch: 1, tokens: 1, size: 1, capacity: 2 },
  );
  expect([...new Uint16Array(cacheK.buffer)]).toEqual([0, 0, 0, 0, ...k]);
});
