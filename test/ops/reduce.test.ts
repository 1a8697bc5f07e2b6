import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { zeros } from "../../framework/ops/create.ts";
import * as ops from "../../framework/ops/reduce.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

/** Reduces in double precision: values of each output position, in order. */
function groups(values: ArrayLike<number>, shape: readonly number[], axes: readonly number[]): number[][] {
  const out = new Map<string, number[]>();
  for (let i = 0; i < values.length; i++) {
    let rest = i;
    const c = [...shape].reverse().map((d) => {
      const k = rest % d;
      rest = Math.floor(rest / d);
      return k;
    });
    c.reverse();
    const key = c.filter((_, axis) => !axes.includes(axis)).join();
    out.set(key, [...(out.get(key) ?? []), values[i]]);
  }
  return [...out.values()];
}

const add = (xs: number[]) => xs.reduce((a, b) => a + b, 0);
const average = (xs: number[]) => add(xs) / xs.length;
const reductions: Record<
  string,
  { fn: (x: Tensor, axes?: ops.Axes, o?: ops.ReduceOptions) => Tensor; f: (xs: number[]) => number }
> = {
  sum: { fn: ops.sum, f: add },
  mean: { fn: ops.mean, f: average },
  max: { fn: ops.max, f: (xs) => Math.max(...xs) },
  min: { fn: ops.min, f: (xs) => Math.min(...xs) },
  var: { fn: ops.variance, f: (xs) => add(xs.map((x) => (x - average(xs)) ** 2)) / (xs.length - 1) },
  logsumexp: { fn: ops.logsumexp, f: (xs) => Math.log(add(xs.map(Math.exp))) },
};
const cases: [number[], number[]][] = [
  [[7], [0]],
  [[3, 5], [0]],
  [[3, 5], [1]],
  [
    [3, 5],
    [0, 1],
  ],
  [[2, 3, 4], [1]],
  [
    [2, 3, 4],
    [0, 2],
  ],
  [[5, 300], [1]],
  [[300, 5], [0]],
];

describe.each(Object.entries(reductions))("%s", (_, { fn, f }) => {
  test.each(cases)("of %p over axes %p equals float64", async (shape, axes) => {
    const x = input(shape, 4);
    const expected = groups(await x.data(), shape, axes).map(f);
    const y = fn(x, axes);
    expect(worst(await y.data(), expected)).toBeLessThan(1e-5);
    const kept = fn(x, axes, { keepdim: true });
    expect([...kept.shape]).toEqual(shape.map((d, i) => (axes.includes(i) ? 1 : d)));
    expect(worst(await kept.data(), expected)).toBeLessThan(1e-5);
  });
  test("passes gradcheck", async () => {
    await gradcheck((x) => fn(x, 1), [input([2, 3, 2], 7, { scale: 2 })], { eps: 4e-3 });
    await gradcheck((x) => fn(x), [input([5], 8, { scale: 2 })], { eps: 4e-3 });
  });
});

test("a long sum is made in pieces and keeps its precision", async () => {
  const x = input([1_000_003], 1, { shift: 0.5 });
  const expected = Array.from(await x.data()).reduce((a: number, b: number) => a + b, 0);
  expect(Math.abs((await x.sum().item()) / expected - 1)).toBeLessThan(1e-6);
  expect(await x.sum().item()).toBe(await x.sum().item());
});

test("equal maxima share the gradient", async () => {
  const x = Tensor.from([3, 1, 3]);
  x.requiresGrad = true;
  x.max().backward();
  expect(await x.grad?.tolist()).toEqual([0.5, 0, 0.5]);
});

test("argmax gives the first of equals, along an axis or flat", async () => {
  const x = Tensor.from([
    [1, 5, 5],
    [7, 2, 7],
  ]);
  expect(await x.argmax(1).tolist()).toEqual([1, 0]);
  expect(await x.argmax(0).tolist()).toEqual([1, 0, 1]);
  expect(await x.argmax().item()).toBe(3);
  const long = input([3, 1000], 9);
  const values = await long.data();
  const expected = [0, 1, 2].map((row) => {
    const part = Array.from(values.slice(row * 1000, row * 1000 + 1000));
    return part.indexOf(Math.max(...part));
  });
  expect(await long.argmax(-1).tolist()).toEqual(expected);
});

test("cumsum runs along any axis and passes gradcheck", async () => {
  const x = Tensor.from([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  expect(await x.cumsum(1).tolist()).toEqual([
    [1, 3, 6],
    [4, 9, 15],
  ]);
  expect(await x.cumsum(0).tolist()).toEqual([
    [1, 2, 3],
    [5, 7, 9],
  ]);
  await gradcheck((t) => t.cumsum(-1), [input([2, 4])]);
});

test("logsumexp does not overflow, and takes rows of -Infinity", async () => {
  expect(await Tensor.from([1000, 1000]).logsumexp().item()).toBeCloseTo(1000 + Math.log(2), 3);
  expect(await Tensor.from([-3e38, -3e38]).logsumexp().item()).toBeLessThan(-1e38);
});

test("integers are summed as integers", async () => {
  const x = Tensor.from(Int32Array.of(1, -2, 2147483000));
  expect(x.sum().dtype).toBe("i32");
  expect(await x.sum().item()).toBe(2147482999);
});

test("the sum of nothing is 0, the maximum of nothing an error", async () => {
  expect(await zeros([0]).sum().item()).toBe(0);
  expect(() => zeros([0]).max()).toThrow("max: no elements along the reduced axes");
});

test("an axis outside the shape is named", () => {
  expect(() => zeros([2, 3]).sum(2)).toThrow("sum: axis 2 is outside shape [2, 3]");
});

test.skipIf(!gpu.target.f16)("mean and variance of f16 need only fit themselves", async () => {
  expect(await Tensor.from(new Float32Array(40000).fill(2), { dtype: "f16" }).mean().item()).toBe(2);
  const x = Tensor.from(new Float32Array(512).fill(200), { dtype: "f16" });
  expect(await x.mean().item()).toBe(200);
  expect([x.mean().dtype, await x.var().item()]).toEqual(["f16", 0]);
});

test("the largest of nothing but -Infinity is that", async () => {
  const [low, high] = [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY];
  expect(await Tensor.from([low, low]).max().item()).toBe(low);
  expect(await Tensor.from([high, high]).min().item()).toBe(high);
  expect(await Tensor.from([low, low]).argmax().item()).toBe(0);
});

test("a long running sum keeps its precision", async () => {
  const n = 70_000;
  const sums = await Tensor.from(new Float32Array(n).fill(0.1)).cumsum(0).data();
  const exact = Math.fround(0.1) * n;
  expect(Math.abs(sums[n - 1] / exact - 1)).toBeLessThan(1e-5);
});

test.skipIf(!gpu.target.f16)("sums over f16 are made in f32", async () => {
  const x = Tensor.from(new Float32Array(4096).fill(1), { dtype: "f16" });
  expect(await x.sum().item()).toBe(4096);
  expect(gpu.pool.stats.liveBuffers).toBeGreaterThan(0);
});
