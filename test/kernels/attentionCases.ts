import { expect, setDefaultTimeout, test } from "bun:test";
import { type Kernel, type Target, tuningSpace } from "../../framework/device/kernel.ts";
import { type AttentionShape, type AttentionTuning, attentionLaunch } from "../../kernels/attention.ts";
import { call, errorOf, lengths, packed } from "./attentionReference.ts";
import { testGpu } from "./launch.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const { target, name } = await testGpu();
const portable: Target = { ...target, class: "portable" };
/** The driver of Mesa 26.1's llvmpipe crashes in a loop with barriers that no lane enters. CPUs never pick the tiles that have such. */
const fragile = Number(/llvmpipe: Mesa (\d+)/.exec(name)?.[1] ?? 0) >= 26;

/** The claims that the forward kernel and both gradients have in common, each on as few pipelines as show it. */
export function attentionCases(kernel: Kernel<AttentionShape, AttentionTuning>): void {
  const { shape } = attentionLaunch(call([1, 2, 1, 40, 40, 16]));
  const space = tuningSpace(kernel, shape, target);
  const small = space.find(({ rows }) => rows === 8) ?? space[0]; // quick to compile

  for (const [group, causal, headDim] of [
    [1, false, 64],
    [2, true, 16],
    [4, true, 24],
  ] as const)
    test(`${group} heads a group of ${headDim}${causal ? ", causal" : ""}, equal float64 at all lengths`, async () => {
      for (const tuning of [small, kernel.pick?.(shape, portable)])
        for (const [queries, keys] of lengths) {
          if (fragile && queries * keys === 0 && tuning !== small) continue;
          const spec = call([2, 2 * group, 2, queries, keys, headDim], { causal }, queries % 2 ? "BTHD" : "BHTD");
          expect([queries, keys, await errorOf(kernel, spec, { tuning })]).toEqual([
            queries,
            keys,
            expect.closeTo(0, 5),
          ]);
        }
    });

  test("what the adapter's class picks equals float64", async () => {
    expect(await errorOf(kernel, call([1, 2, 1, 61, 61, 64], { causal: true }))).toBeLessThan(2e-6);
  });

  for (const tuning of space)
    test(`tuned to ${JSON.stringify(tuning)} it equals float64`, async () => {
      expect(await errorOf(kernel, call([1, 2, 1, 40, 45, 16]), { tuning })).toBeLessThan(2e-6);
    });

  for (const causal of [true, false])
    test(`packed documents see only themselves${causal ? ", causally" : ""}, also where they come back`, async () => {
      const spec = call([2, 4, 2, 67, 67, 24], { causal, segments: true });
      for (const tuning of [small, kernel.pick?.(shape, portable)])
        expect(await errorOf(kernel, spec, { segments: packed, tuning })).toBeLessThan(2e-6);
    });

  test("the spare capacity of a cache is not read", async () => {
    for (const layout of ["BTHD", "BHTD"] as const)
      for (const tuning of [small, kernel.pick?.(shape, portable)])
        expect(await errorOf(kernel, call([2, 2, 1, 5, 37, 16], {}, layout, 9), { tuning })).toBeLessThan(2e-6);
  });

  test.skipIf(!target.f16)("f16 is summed in f32 and rounded once", async () => {
    const spec = call([1, 4, 2, 37, 61, 16], { causal: true, dtype: "f16" });
    for (const tuning of [small, kernel.pick?.(shape, portable)])
      expect(await errorOf(kernel, spec, { tuning })).toBeLessThan(5e-4);
  });
}
