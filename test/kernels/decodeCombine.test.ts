import { expect, setDefaultTimeout, test } from "bun:test";
import { decode } from "./decodeReference.ts";
import { testGpu } from "./launch.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const { target } = await testGpu();
const sizes = { capacity: 700, heads: 4, kvHeads: 2, headDim: 16, span: 256 };
const tuning = { lanes: 64, subgroup: 0, unroll: 0 };

test("spans of keys, joined, equal float64 at all lengths", async () => {
  for (const lengths of [
    [0, 255, 256],
    [257, 511, 699, 3],
  ])
    expect((await decode({ lengths, ...sizes }, tuning)).error).toBeLessThan(3e-6);
  expect(
    (await decode({ lengths: [80, 300], ...sizes, headDim: 6, span: 32 }, { lanes: 8, subgroup: 0, unroll: 0 })).error,
  ).toBeLessThan(3e-6);
});

test("a single span gives the bits of no spans", async () => {
  const lengths = [255, 7];
  const whole = await decode({ lengths, ...sizes, span: 0 }, tuning);
  const joined = await decode({ lengths, ...sizes }, tuning);
  expect([...joined.o]).toEqual([...whole.o]);
});

test.skipIf(!target.f16)("f16", async () => {
  expect((await decode({ lengths: [699, 300], ...sizes, dtype: "f16" }, tuning)).error).toBeLessThan(5e-4);
});
