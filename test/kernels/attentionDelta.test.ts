import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { attentionLaunch } from "../../kernels/attention.ts";
import { attentionDelta } from "../../kernels/attentionDelta.ts";
import { call, errorOf, lengths } from "./attentionReference.ts";
import { testGpu } from "./launch.ts";

const { target } = await testGpu();

test("lse in powers of two and delta equal float64 at all lengths", async () => {
  for (const [queries, keys] of lengths)
    for (const layout of ["BTHD", "BHTD"] as const) {
      const spec = call([2, 4, 2, queries, keys, 24], { causal: true }, layout);
      expect([queries, keys, await errorOf(attentionDelta, spec)]).toEqual([queries, keys, expect.closeTo(0, 5)]);
    }
});

test("every point of the tuning space does, at more rows than the largest workgroup takes", async () => {
  const spec = call([1, 9, 3, 37, 61, 16]);
  const points = tuningSpace(attentionDelta, attentionLaunch(spec).shape, target);
  expect(points.length).toBe(4);
  for (const tuning of points)
    expect([tuning, await errorOf(attentionDelta, spec, { tuning })]).toEqual([tuning, expect.closeTo(0, 5)]);
});

test.skipIf(!target.f16)("f16 is summed in f32", async () => {
  expect(await errorOf(attentionDelta, call([1, 4, 2, 37, 61, 16], { dtype: "f16" }))).toBeLessThan(2e-3);
});
