import { expect, test } from "bun:test";
import { type AttentionCall, attention, attentionLaunch } from "../../kernels/attention.ts";
import { attentionCases } from "./attentionCases.ts";
import { call, errorOf } from "./attentionReference.ts";
import { testGpu } from "./launch.ts";

attentionCases(attention);

test("few queries over many keys, as in decoding, equal float64", async () => {
  for (const queries of [1, 2, 3]) {
    const spec = call([3, 4, 2, queries, 131, 16], { causal: true }, "BTHD", 29);
    expect(await errorOf(attention, spec)).toBeLessThan(2e-6);
  }
});

test("scores of any size neither overflow nor vanish", async () => {
  expect(await errorOf(attention, call([1, 2, 1, 7, 61, 16], { scale: 300 }))).toBeLessThan(1e-3);
});

test("lengths share a pipeline", async () => {
  const gpu = await testGpu();
  await errorOf(attention, call([1, 2, 1, 40, 40, 16]));
  const before = gpu.stats.pipelines;
  await errorOf(attention, call([3, 4, 2, 33, 70, 16]));
  expect(gpu.stats.pipelines).toBe(before);
});

const wrong: [Partial<AttentionCall>, string][] = [
  [{ headDim: 6 }, "attention: headDim is 6, expected a multiple of 4 from 4 to 256"],
  [{ heads: 3 }, "attention: 3 query heads over 2 key heads, expected a multiple"],
  [{ queries: 2.5 }, "attention: queries is 2.5, expected a whole number"],
  [{ segments: true }, "attention: 7 queries and 9 keys with segments, expected as many of both"],
  [{ dtype: "i32" }, "attention: q, k and v are i32, expected f32 or f16"],
  [{ q: { batch: 8, token: 5, head: 4 } }, "attention: stride qToken is 5, expected a multiple of 4"],
];
for (const [more, message] of wrong)
  test(`${JSON.stringify(more)} is refused`, () => {
    expect(() => attentionLaunch(call([1, 4, 2, 7, 9, 16], more))).toThrow(message);
  });
