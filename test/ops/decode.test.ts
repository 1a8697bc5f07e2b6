import { expect, setDefaultTimeout, test } from "bun:test";
import { appendToCache, type CacheLayer, decodeAttention } from "../../framework/ops/decode.ts";
import { Sampler } from "../../framework/ops/sample.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { collectGarbage, input, leftBehind, worst } from "./support.ts";

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

test("what does not fit the cache is named", () => {
  const cache = cacheOf(2, 5, 2, 4, [0, 0]);
  const of = (...shape: number[]) => input(shape);
  expect(() => decodeAttention(of(2, 2, 2, 4), cache)).toThrow(
    "decodeAttention: q is [2, 2, 2, 4], expected [B, 1, H, D] with the cache's B and D and a multiple of its heads (k is [2, 5, 2, 4])",
  );
  expect(() => decodeAttention(of(2, 1, 3, 4), cache)).toThrow("decodeAttention: q is [2, 1, 3, 4]");
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
