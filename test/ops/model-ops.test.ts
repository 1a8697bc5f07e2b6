import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { dropout, swiglu } from "../../framework/ops/activation.ts";
import { ones, rand, randn, zeros } from "../../framework/ops/create.ts";
import { rope } from "../../framework/ops/rope.ts";
import { manualSeed, randomState, setRandomState } from "../../framework/tensor/random.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { input, worst } from "./support.ts";

/** cos and sin of position · 0.1 / (pair + 1). */
function table(positions: number, pairs: number): Tensor {
  const values = Array.from(
    { length: positions * pairs },
    (_, i) => (Math.floor(i / pairs) * 0.1) / ((i % pairs) + 1),
  ).flatMap((a) => [Math.cos(a), Math.sin(a)]);
  return Tensor.from(values, { shape: [positions, pairs, 2] });
}

describe("rope", () => {
  test("turns each half-apart pair by its position's angle", async () => {
    const x = input([1, 5, 2, 6], 1);
    const xs = await x.data();
    const expected = Array.from(xs, (v, i) => {
      const [d, t] = [i % 6, Math.floor(i / 12)];
      const a = (t * 0.1) / ((d % 3) + 1);
      return d < 3 ? v * Math.cos(a) - xs[i + 3] * Math.sin(a) : v * Math.cos(a) + xs[i - 3] * Math.sin(a);
    });
    expect(worst(await rope(x, table(8, 3)).data(), expected)).toBeLessThan(1e-6);
  });
  test("takes an offset or positions of its own, and they agree", async () => {
    const x = input([1, 2, 2, 4], 1);
    const positions = Tensor.from(Int32Array.of(3, 4), { shape: [1, 2] });
    expect(
      worst(await rope(x, table(8, 2), { offset: 3 }).data(), await rope(x, table(8, 2), { positions }).data()),
    ).toBe(0);
  });
  test("passes gradcheck", async () => {
    await gradcheck((x) => rope(x, table(4, 2)), [input([2, 3, 1, 4], 1)]);
  });
  test("says when positions run past the table", () => {
    expect(() => rope(zeros([1, 5, 1, 4]), table(4, 2))).toThrow(
      "rope: position 4 is past the table's 4; raise max_position_embeddings",
    );
    expect(() => rope(zeros([1, 5, 1, 6]), table(8, 2))).toThrow("rope: x is [1, 5, 1, 6] and the table [8, 2, 2]");
  });
});

test("swiglu equals silu(gate) · up and passes gradcheck", async () => {
  const x = input([3, 10], 1, { scale: 3 });
  const [g, u] = x.split(5, -1);
  expect(worst(await swiglu(x).data(), await g.silu().mul(u).data())).toBeLessThan(1e-6);
  await gradcheck(swiglu, [x]);
  expect(() => swiglu(zeros([2, 3]))).toThrow("swiglu: x is [2, 3], expected [..., 2 · D]");
});

describe("random numbers", () => {
  test("are the same for the same seed, and differ from draw to draw", async () => {
    manualSeed(7);
    const [a, b] = [await randn([9]).data(), await randn([9]).data()];
    manualSeed(7);
    expect([...(await randn([9]).data())]).toEqual([...a]);
    expect([...b]).not.toEqual([...a]);
  });
  test("go on from a saved state", async () => {
    const state = randomState();
    const a = await rand([5]).data();
    setRandomState(state);
    expect([...(await rand([5]).data())]).toEqual([...a]);
  });
  test("have the moments of their distributions", async () => {
    manualSeed(1);
    const [u, n] = [rand([200_000]), randn([200_000])];
    expect(await u.mean().item()).toBeCloseTo(0.5, 2);
    expect(await u.var().item()).toBeCloseTo(1 / 12, 2);
    expect(await u.min().item()).toBeGreaterThanOrEqual(0);
    expect(await u.max().item()).toBeLessThan(1);
    expect(await n.mean().item()).toBeCloseTo(0, 1);
    expect(await n.var().item()).toBeCloseTo(1, 1);
    expect(await n.pow(4).mean().item()).toBeCloseTo(3, 0);
  });
  test("equal Philox4x32-10's published numbers", async () => {
    setRandomState({ seed: 0, draw: 0 });
    // The generator's known answer for counter 0 and key 0 starts 6627e8d5; rand keeps its upper 24 bits.
    expect(await rand([1]).item()).toBe((0x6627e8d5 >>> 8) / 2 ** 24);
  });
});

test("dropout zeroes its share, keeps the mean, and does nothing in evaluation", async () => {
  manualSeed(3);
  const x = ones([20_000]);
  const y = dropout(x, 0.25);
  expect(await y.eq(0).mean().item()).toBeCloseTo(0.25, 1);
  expect(await y.mean().item()).toBeCloseTo(1, 1);
  expect(dropout(x, 0.25, false)).toBe(x);
  expect(() => dropout(x, 1)).toThrow("dropout: p is 1");
});
