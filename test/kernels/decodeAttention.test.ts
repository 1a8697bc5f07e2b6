import { expect, setDefaultTimeout, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { decodeAttention } from "../../kernels/decodeAttention.ts";
import { decode } from "./decodeReference.ts";
import { testGpu } from "./launch.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const { target } = await testGpu();
const gpus = { lanes: 64, subgroup: 0, unroll: 0 }; // what a GPU takes

for (const [heads, kvHeads, headDim] of [
  [1, 1, 4],
  [4, 2, 32],
  [8, 2, 64],
  [3, 1, 20],
  [2, 2, 6],
])
  test(`${heads} heads over ${kvHeads} of ${headDim} equal float64 at all lengths`, async () => {
    for (const lengths of [[0], [0, 1, 30, 31, 32, 100]])
      for (const tuning of [undefined, gpus]) {
        const { error } = await decode({ lengths, capacity: 101, heads, kvHeads, headDim, scale: 0.3 }, tuning);
        expect([lengths, error]).toEqual([lengths, expect.closeTo(0, 5)]);
      }
  });

const sizes = { heads: 4, kvHeads: 2, headDim: 16 };
const space = tuningSpace(
  decodeAttention,
  { ...sizes, group: 2, dtype: "f32", span: 0, source: "q", norm: false },
  target,
);
for (const tuning of space.filter(({ lanes, unroll }) => !unroll || lanes === 64)) // others differ in what the compiler does, slowly
  test(`tuned to ${JSON.stringify(tuning)} it equals float64`, async () => {
    const { error } = await decode({ lengths: [5, 299], capacity: 300, ...sizes }, tuning);
    expect(error).toBeLessThan(3e-6);
  });

test("a row past the cache's capacity sees all of it, and nothing beyond", async () => {
  const { error } = await decode({ lengths: [40, 9], capacity: 33, ...sizes });
  expect(error).toBeLessThan(3e-6);
});

test("scores of any size neither overflow nor vanish", async () => {
  const { error } = await decode({ lengths: [70, 9], capacity: 80, ...sizes, scale: 300 });
  expect(error).toBeLessThan(1e-3);
});

test("a row's result does not depend on the rows beside it", async () => {
  const whole = await decode({ lengths: [60, 9, 33], capacity: 64, ...sizes });
  const alone = await decode({ lengths: [60], capacity: 64, ...sizes });
  expect([...whole.o.subarray(0, 64)]).toEqual([...alone.o.subarray(0, 64)]);
});

test.skipIf(!target.f16)("f16 is summed in f32 and rounded once", async () => {
  for (const tuning of [undefined, gpus]) {
    const { error } = await decode({ lengths: [70, 9], capacity: 80, ...sizes, dtype: "f16" }, tuning);
    expect(error).toBeLessThan(5e-4);
  }
});
