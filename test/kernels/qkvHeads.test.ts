import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { qkvHeads } from "../../kernels/qkvHeads.ts";
import { arraysOf, caseOf, kinds, uniformsOf } from "./headsCases.ts";
import { type HeadsInput, headsReference } from "./headsReference.ts";
import { runKernel, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();
const space = (input: HeadsInput) => tuningSpace(qkvHeads, input.shape, target);

/** Rows of k and v stand `capacity` apart, from row `start` on; what lies between must stay. */
async function check(input: HeadsInput, tuning = space(input)[0], { capacity = 7, start = 0 } = {}): Promise<void> {
  const { shape, tokens } = input;
  const expected = headsReference(input);
  const pitch = shape.kvHeads * shape.headDim;
  const cache = () => new Float32Array(((tokens / 7) * capacity + start) * pitch).fill(5);
  const outputs = { q: new Float32Array(expected.q.length + 4).fill(5), k: cache(), v: cache() };
  const uniforms = { ...uniformsOf(input), capacity, start };
  const got = await runKernel(qkvHeads, { ...arraysOf(input), ...outputs }, ["q", "k", "v"], shape, uniforms, tuning);
  expect(worst(got.q, [...expected.q, 5, 5, 5, 5])).toBeLessThan(1e-5);
  for (const name of ["k", "v"] as const) {
    const placed = cache();
    expected[name].forEach((value, i) => {
      const token = Math.floor(i / pitch);
      const place = shape.byPosition ? input.positions[token] : start + (token % 7);
      if (place < capacity) placed[(Math.floor(token / 7) * capacity + place) * pitch + (i % pitch)] = value;
    });
    expect(worst(got[name], placed)).toBeLessThan(1e-5);
  }
}

for (const [title, shape] of kinds)
  test(`${title}: q, k and v equal float64`, async () => {
    const input = caseOf(shape);
    await check(input);
    await check(input, qkvHeads.pick?.(input.shape, { ...target, class: "portable" }));
  });

for (const tuning of space(caseOf({})))
  test(`tuned to ${JSON.stringify(tuning)} they equal float64`, () => check(caseOf({}), tuning));

test("k and v go into a cache where it says, and nowhere else", () =>
  check(caseOf({}), undefined, { capacity: 10, start: 3 }));

for (const rotary of [true, false])
  test(`k and v go to their tokens' positions${rotary ? "" : ", which turn nothing"}; what lies past the cache is dropped`, () =>
    check(caseOf({ positions: true, byPosition: true, rotary }), undefined, { capacity: 10 }));
