import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { appendToCache, type CacheLayer, decodeAttention, decodeHeads } from "../../framework/ops/decode.ts";
import { Sampler } from "../../framework/ops/sample.ts";
import { splitHeads } from "../../framework/ops/selfAttention.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { collectGarbage, gpu, input, leftBehind, worst } from "./support.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const cacheOf = (batch: number, capacity: number, heads: number, headDim: number, lengths: number[]): CacheLayer => ({
  k: input([batch, capacity, heads, headDim], 2),
  v: input([batch, capacity, heads, headDim], 3),
  lengths: Tensor.from(Int32Array.from(lengths)),
});

test("spans of keys give what all at once give", async () => {
  const cache = cacheOf(2, 600, 1, 16, [599, 20]);
  const q = input([2, 1, 2, 16]);
  const whole = await decodeAttention(q, cache, { span: 0 }).data();
  expect(worst(await decodeAttention(q, cache, { span: 256 }).data(), whole)).toBeLessThan(1e-6);
});

test("a token that is appended is the last that its row sees", async () => {
  const cache = cacheOf(2, 5, 1, 4, [0, 3]);
  const [k, v] = [input([2, 1, 1, 4], 4), input([2, 1, 1, 4], 5)];
  appendToCache(k, v, cache);
  const seen = await decodeAttention(input([2, 1, 1, 4]), cache).data();
  expect(worst(seen.slice(0, 4), (await v.data()).slice(0, 4))).toBeLessThan(1e-6); // row 0 has no other
});

const { target } = gpu;
interface Heads {
  heads: number;
  kvHeads: number;
  headDim: number;
  norm: boolean;
  dtype?: "f32" | "f16";
}
describe.skipIf(target.class !== "software" || !target.subgroups)(
  "a token's heads and its attention in one launch",
  () => {
    const lengths = [0, 5, 40, 41]; // of 41: the last row is full
    test.each<[string, Heads]>([
      ["norms", { heads: 4, kvHeads: 2, headDim: 32, norm: true }],
      ["no norms", { heads: 4, kvHeads: 2, headDim: 32, norm: false }],
      ["a key head each", { heads: 3, kvHeads: 3, headDim: 8, norm: true }],
      ["heads of 64, four to a key head", { heads: 8, kvHeads: 2, headDim: 64, norm: true }],
      ["heads of 88", { heads: 2, kvHeads: 1, headDim: 88, norm: true }],
      ["f16", { heads: 4, kvHeads: 2, headDim: 32, norm: true, dtype: "f16" }],
    ])("equal both apart: %s", async (_, { heads, kvHeads, headDim, norm, dtype = "f32" }) => {
      if (dtype === "f16" && !target.f16) return;
      const caches = [0, 1].map(() => {
        const cache = cacheOf(lengths.length, 41, kvHeads, headDim, lengths);
        return { ...cache, k: cache.k.cast(dtype), v: cache.v.cast(dtype) };
      });
      const qkv = input([lengths.length, 1, (heads + 2 * kvHeads) * headDim], 1).cast(dtype);
      const weights = norm ? { qNorm: input([headDim], 4), kNorm: input([headDim], 5) } : {};
      const options = { heads, kvHeads, ...weights, eps: 1e-3, table: input([42, headDim / 2, 2], 6) };
      const positions = caches[0].lengths.alias([lengths.length, 1]);
      const before = gpu.stats.dispatches;
      const together = decodeHeads(qkv, options, caches[1]) as Tensor;
      expect(gpu.stats.dispatches - before).toBe(1);
      const { q } = splitHeads(qkv, { ...options, positions }, { ...caches[0], start: 0, byPosition: true });
      const apart = decodeAttention(q, caches[0]);
      const tolerance = dtype === "f16" ? 2e-3 : 2e-6;
      for (const [got, expected] of [
        [together, apart],
        [caches[1].k, caches[0].k],
        [caches[1].v, caches[0].v],
      ])
        expect(worst(await got.data(), await expected.data())).toBeLessThan(tolerance);
    });

    test("is left to two where there are no positions, or other dtypes", () => {
      const cache = cacheOf(1, 5, 1, 16, [0]);
      const options = { heads: 2, kvHeads: 1, table: input([5, 8, 2], 6) };
      expect(decodeHeads(input([1, 1, 64]), { ...options, table: undefined }, cache)).toBeUndefined();
      if (target.f16) expect(decodeHeads(input([1, 1, 64]).cast("f16"), options, cache)).toBeUndefined();
      expect(decodeHeads(input([1, 1, 48]), options, cacheOf(1, 5, 1, 12, [0]))).toBeUndefined();
    });
  },
);

test("what does not fit the cache is named", () => {
  const cache = cacheOf(2, 5, 2, 4, [0, 0]);
  const of = (...shape: number[]) => input(shape);
  expect(() => decodeAttention(of(2, 2, 2, 4), cache)).toThrow(
    "decodeAttention: q is [2, 2, 2, 4], expected [B, 1, H, D] with the cache's B and D and a multiple of its heads (k is [2, 5, 2, 4])",
  );
  expect(() => decodeAttention(of(2, 1, 3, 4), cache)).toThrow("decodeAttention: q is [2, 1, 3, 4]");
  if (target.f16)
    expect(() => decodeAttention(of(2, 1, 2, 4).cast("f16"), cache)).toThrow("decodeAttention: q is f16, expected f32");
  expect(() => appendToCache(of(3, 1, 2, 4), of(3, 1, 2, 4), cache)).toThrow(
    "cache: k is [3, 1, 2, 4], the cache [2, 5, 2, 4]",
  );
  expect(() => appendToCache(of(2, 1, 2, 4), of(2, 2, 2, 4), cache)).toThrow("cache: v is [2, 2, 2, 4]");
});

test("a sampler keeps its rows' tokens, takes no other logits, and is freed", async () => {
  await collectGarbage();
  const left = await leftBehind(async () => {
    const sampler = new Sampler([[1], [2]], 5, 3, { temperature: 0, repetitionPenalty: 2 });
    using lengths = Tensor.from(Int32Array.of(4, 9));
    using logits = Tensor.from([
      [0, 3, 2, 1, 0],
      [0, 3, 2, 1, 0],
    ]);
    sampler.sample(logits, lengths); // row 0 has token 1 already: 3 / 2 is less than 2
    sampler.sample(logits, lengths);
    expect([...(await sampler.out.data())]).toEqual([2, 1, 1, 1, 0, 0]);
    expect([...(await sampler.token.data())]).toEqual([1, 1]);
    expect([...(await lengths.data())]).toEqual([6, 11]);
    expect(() => sampler.sample(lengths, lengths)).toThrow("sample: logits is i32, expected f32 or f16");
    using other = Tensor.from([[1, 2]]);
    expect(() => sampler.sample(other, lengths)).toThrow("sample: logits are [1, 2], expected [2, 5]");
    sampler.dispose();
  });
  expect(left).toBe(0);
});
