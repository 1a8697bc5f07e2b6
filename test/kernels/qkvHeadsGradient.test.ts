import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { qkvHeadsGradient, TOKENS } from "../../kernels/qkvHeadsGradient.ts";
import { arraysOf, caseOf, kinds, uniformsOf } from "./headsCases.ts";
import { type HeadsInput, headsGradientReference } from "./headsReference.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();
const space = (input: HeadsInput) => tuningSpace(qkvHeadsGradient, input.shape, target);

async function check(input: HeadsInput, tuning = space(input)[0]): Promise<void> {
  const { shape, tokens } = input;
  const { heads, kvHeads, headDim, norm } = shape;
  const sizes = { q: tokens * heads * headDim, k: tokens * kvHeads * headDim, v: tokens * kvHeads * headDim };
  const given = { q: noise(sizes.q, 5), k: noise(sizes.k, 6), v: noise(sizes.v, 7) };
  const gap = [9, 9, 9, 9];
  const grads = Float32Array.of(...given.q, ...gap, ...given.k, ...gap, ...given.v);
  const groups = Math.ceil(tokens / TOKENS);
  const outputs = {
    dqkv: new Float32Array(input.qkv.length + 4).fill(5),
    ...(norm ? { partial: new Float32Array((heads + kvHeads) * groups * headDim + 4).fill(5) } : {}),
  };
  const uniforms = { ...uniformsOf(input), kAt: sizes.q / 4 + 1, vAt: (sizes.q + sizes.k) / 4 + 2 };
  const names = norm ? (["dqkv", "partial"] as const) : (["dqkv"] as const);
  const arrays = { ...arraysOf(input), grads, ...outputs };
  const got: Record<string, Float32Array> = await runKernel(qkvHeadsGradient, arrays, names, shape, uniforms, tuning);
  const expected = headsGradientReference(input, given);
  expect(worst(got.dqkv, [...expected.dqkv, 5, 5, 5, 5])).toBeLessThan(1e-5);
  if (!norm) return;
  const sums = (first: number, rows: number) =>
    Array.from({ length: headDim }, (_, c) => {
      let sum = 0;
      for (let r = first; r < first + rows; r++) sum += got.partial[r * headDim + c];
      return sum;
    });
  expect(worst(sums(0, heads * groups), expected.q)).toBeLessThan(1e-4);
  expect(worst(sums(heads * groups, kvHeads * groups), expected.k)).toBeLessThan(1e-4);
  expect([...got.partial.slice(-4)]).toEqual([5, 5, 5, 5]);
}

for (const [title, shape] of kinds)
  test(`${title}: dqkv and the norms' gradients equal float64`, async () => {
    const input = caseOf(shape);
    await check(input);
    await check(input, qkvHeadsGradient.pick?.(input.shape, { ...target, class: "portable" }));
  });

for (const tuning of space(caseOf({})))
  test(`tuned to ${JSON.stringify(tuning)} they equal float64`, () => check(caseOf({}), tuning));

test("more tokens than a workgroup takes", () => check(caseOf({ headDim: 8 }, 38)));
