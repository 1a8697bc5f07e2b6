import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { zeros } from "../../framework/ops/create.ts";
import { elementwise } from "../../framework/ops/elementwise.ts";
import * as ops from "../../framework/ops/pointwise.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, noise, worst } from "./support.ts";

const erf = (x: number) => {
  let sum = 0; // the series, exact enough for |x| < 3
  for (let n = 0, term = x; n < 60; n++, term *= -(x * x) / n) sum += term / (2 * n + 1);
  return (2 / Math.sqrt(Math.PI)) * sum;
};
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** Each op's value in double precision, and the range of inputs where it is smooth. */
const unary: Record<string, { f: (x: number) => number; scale?: number; shift?: number }> = {
  neg: { f: (x) => -x },
  exp: { f: Math.exp },
  log: { f: Math.log, scale: 0.9, shift: 1.5 },
  sqrt: { f: Math.sqrt, scale: 0.9, shift: 1.5 },
  rsqrt: { f: (x) => 1 / Math.sqrt(x), scale: 0.9, shift: 1.5 },
  sin: { f: Math.sin, scale: 3 },
  cos: { f: Math.cos, scale: 3 },
  tanh: { f: Math.tanh, scale: 2 },
  sigmoid: { f: sigmoid, scale: 4 },
  logSigmoid: { f: (x) => Math.log(sigmoid(x)), scale: 4 },
  silu: { f: (x) => x * sigmoid(x), scale: 4 },
  relu: { f: (x) => Math.max(x, 0) },
  abs: { f: Math.abs },
  erf: { f: erf, scale: 2 },
};

describe.each(Object.entries(unary))("%s", (name, { f, scale = 1, shift = 0 }) => {
  const fn = ops[name as "exp"];
  for (const size of [1, 17, 64]) {
    test(`of ${size} elements equals float64`, async () => {
      const x = input([size], size, { scale, shift });
      const expected = Array.from(await x.data(), f);
      expect(worst(await fn(x).data(), expected)).toBeLessThan(2e-6);
    });
  }
  test("passes gradcheck", async () => {
    await gradcheck(fn, [input([7], 3, { scale, shift })], { eps: 4e-3, tolerance: 1e-2 });
  });
  test.skipIf(!gpu.target.f16)("takes f16", async () => {
    const x = Tensor.from(
      noise(9, 2).map((v) => v * scale + shift),
      { dtype: "f16" },
    );
    const y = fn(x);
    expect(y.dtype).toBe("f16");
    expect(worst(await y.data(), Array.from(await x.data(), f))).toBeLessThan(2e-3);
  });
});

const binary: Record<string, (a: number, b: number) => number> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => a / b,
  minimum: Math.min,
  maximum: Math.max,
};
const shapePairs: [number[], number[]][] = [
  [[4], [4]],
  [[2, 3], [3]],
  [
    [3, 1],
    [1, 5],
  ],
  [
    [2, 1, 3],
    [4, 1],
  ],
  [[], [5]],
  [[5, 7], []],
  [
    [2, 3, 5, 1],
    [3, 1, 2],
  ],
];

describe.each(Object.entries(binary))("%s", (name, f) => {
  const fn = ops[name as "add"];
  test.each(shapePairs)("broadcasts %p with %p as float64 does", async (a, b) => {
    const x = input(a, 1);
    const y = input(b, 2, { shift: 2 });
    const z = fn(x, y);
    const [xs, ys] = [await x.data(), await y.data()];
    const at = (shape: number[], coordinates: number[]) =>
      shape.reduce((i, d, axis) => i * d + (d === 1 ? 0 : coordinates[coordinates.length - shape.length + axis]), 0);
    const expected = Array.from({ length: z.size }, (_, i) => {
      let rest = i;
      const c = [...z.shape].reverse().map((d) => {
        const k = rest % d;
        rest = Math.floor(rest / d);
        return k;
      });
      c.reverse();
      return f(xs[at(a, c)], ys[at(b, c)]);
    });
    expect(worst(await z.data(), expected)).toBeLessThan(1e-6);
  });
  test("passes gradcheck when both sides broadcast", async () => {
    await gradcheck((a, b) => fn(a, b), [input([3, 1], 1), input([1, 4], 2, { shift: 3 })]);
  });
  test("takes a number on either side", async () => {
    const x = input([5], 1, { shift: 2 });
    const xs = Array.from(await x.data());
    expect(
      worst(
        await fn(x, 3).data(),
        xs.map((v) => f(v, 3)),
      ),
    ).toBeLessThan(1e-6);
    expect(
      worst(
        await fn(3, x).data(),
        xs.map((v) => f(3, v)),
      ),
    ).toBeLessThan(1e-6);
  });
});

test("shapes that do not broadcast are named", () => {
  expect(() => ops.add(zeros([2, 3]), zeros([2, 4]))).toThrow(
    "add: shapes [2, 3] and [2, 4] do not broadcast (axis -1: 3 and 4)",
  );
});

test("integers stay integers, and meet floats as floats", async () => {
  const i = Tensor.from(Int32Array.of(7, -3, 2));
  expect(ops.add(i, 2).dtype).toBe("i32");
  expect([...(await ops.mul(i, i).data())]).toEqual([49, 9, 4]);
  expect(ops.mul(i, 0.5).dtype).toBe("f32");
  expect([...(await ops.mul(i, 0.5).data())]).toEqual([3.5, -1.5, 1]);
  expect(() => ops.exp(i)).toThrow("exp: x is i32, expected f32 or f16");
});

test("integers are divided as floats, as in PyTorch", async () => {
  const q = Tensor.from(Int32Array.of(7, -7)).div(Tensor.from(Int32Array.of(2, 2)));
  expect([q.dtype, await q.tolist()]).toEqual(["f32", [3.5, -3.5]]);
  expect(await Tensor.from(Int32Array.of(1)).div(4).tolist()).toEqual([0.25]);
});

test("minimum and maximum hand a NaN on", async () => {
  const [a, b] = [Tensor.from([1, Number.NaN, 3]), Tensor.from([Number.NaN, 2, 4])];
  expect([...(await a.minimum(b).data())]).toEqual([Number.NaN, Number.NaN, 3]);
  expect([...(await a.maximum(b).data())]).toEqual([Number.NaN, Number.NaN, 4]);
  expect(await Tensor.from(Int32Array.of(3, -9)).maximum(0).tolist()).toEqual([3, 0]);
});

test("what is no number is refused by its kind", () => {
  expect(() => Tensor.from(["a"] as unknown as number[])).toThrow("tensor: found string where a number is expected");
  expect(() => Tensor.from(BigInt64Array.of(1n) as unknown as number[])).toThrow("a BigInt64Array has no dtype here");
  expect(() => ops.neg(Tensor.from(Uint32Array.of(1)))).toThrow("neg: x is u32, expected f32, f16 or i32");
});

test("a tie of minimum and maximum gives half the gradient to each", async () => {
  const a = Tensor.from([1, 2]);
  const b = Tensor.from([1, 3]);
  a.requiresGrad = b.requiresGrad = true;
  ops.maximum(a, b).sum().backward();
  expect(await a.grad?.tolist()).toEqual([0.5, 0]);
  expect(await b.grad?.tolist()).toEqual([0.5, 1]);
});

describe("pow", () => {
  test("takes whole powers of negative numbers, and gives NaN for others", async () => {
    const x = Tensor.from([-2, 3]);
    expect(worst(await x.pow(3).data(), [-8, 27])).toBeLessThan(1e-6);
    expect(worst(await x.pow(-2).data(), [0.25, 1 / 9])).toBeLessThan(1e-6);
    expect(worst(await x.pow(5).data(), [-32, 243])).toBeLessThan(1e-5);
    expect(Number.isNaN((await x.pow(0.5).data())[0])).toBe(true);
  });
  test("passes gradcheck for numbers and tensors", async () => {
    await gradcheck((x) => x.pow(3), [input([5])]);
    await gradcheck((x, p) => x.pow(p), [input([5], 1, { scale: 0.5, shift: 1.5 }), input([5], 2)]);
  });
  test("has a second derivative", async () => {
    const x = Tensor.from([2, -3]);
    x.requiresGrad = true;
    x.pow(3).sum().backward({ createGraph: true });
    const first = x.grad as Tensor;
    x.grad = undefined;
    first.sum().backward();
    expect(worst(await (x.grad as unknown as Tensor).data(), [12, -18])).toBeLessThan(1e-5);
  });
});

test("comparisons give ones and zeros", async () => {
  const [a, b] = [Tensor.from([1, 2, 3]), Tensor.from([2, 2, 2])];
  expect(await a.lt(b).tolist()).toEqual([1, 0, 0]);
  expect(await a.le(b).tolist()).toEqual([1, 1, 0]);
  expect(await a.gt(b).tolist()).toEqual([0, 0, 1]);
  expect(await a.ge(2).tolist()).toEqual([0, 1, 1]);
  expect(await a.eq(b).tolist()).toEqual([0, 1, 0]);
  expect(await a.ne(2).tolist()).toEqual([1, 0, 1]);
});

test("where chooses, broadcasts, and passes gradcheck", async () => {
  const condition = Tensor.from([[1], [0]]);
  expect(await ops.where(condition, Tensor.from([1, 2]), -1).tolist()).toEqual([
    [1, 2],
    [-1, -1],
  ]);
  await gradcheck((a, b) => ops.where(condition, a, b), [input([2, 3], 1), input([3], 2)]);
});

test("clamp limits, and its gradient passes inside only", async () => {
  const x = Tensor.from([-2, 0.5, 3]);
  x.requiresGrad = true;
  const y = x.clamp({ min: -1, max: 1 });
  expect(await y.tolist()).toEqual([-1, 0.5, 1]);
  y.sum().backward();
  expect(await x.grad?.tolist()).toEqual([0, 1, 0]);
});

test("f16 is refused where the adapter has none", () => {
  const { f16 } = gpu.target;
  gpu.target.f16 = false;
  try {
    // An expression of its own, which no test has compiled before.
    expect(() => elementwise("halved", "a * 0.25 + 7.5", [input([3])], { dtype: "f16" })).toThrow(
      `pointwise: ${gpu.name} has no f16; stay with f32`,
    );
  } finally {
    gpu.target.f16 = f16;
  }
});

for (const x of [0, -0.5, Math.PI / 2, Math.PI, 100, -5000.5, 8192])
  test(`sin and cos of ${x} equal float64`, async () => {
    const angle = Tensor.from([x]);
    const exact = Math.fround(x);
    expect(Math.abs((await ops.sin(angle).item()) - Math.sin(exact))).toBeLessThan(4e-7);
    expect(Math.abs((await ops.cos(angle).item()) - Math.cos(exact))).toBeLessThan(4e-7);
  });

test("a NaN stays one, and equals nothing", async () => {
  const x = Tensor.from([Number.NaN, 1]);
  for (const y of [x.relu(), x.tanh(), x.sign(), x.clamp({ min: -2, max: 2 }), x.abs(), x.maximum(0), x.sigmoid()])
    expect(Number.isNaN((await y.data())[0])).toBe(true);
  expect([...(await x.eq(x).data())]).toEqual([0, 1]);
  expect([...(await x.ne(x).data())]).toEqual([1, 0]);
  expect([...(await x.ne(Number.NaN).data())]).toEqual([1, 1]);
  expect([...(await Tensor.from(Int32Array.of(3, 4)).eq(3).data())]).toEqual([1, 0]);
});

test("powers of nothing, to nothing and of one", async () => {
  const power = async (x: number, p: number) => (await ops.pow(Tensor.from([x]), Tensor.from([p])).data())[0];
  for (const [x, p, y] of [
    [0, 0, 1],
    [0, 2.5, 0],
    [0, -1, Number.POSITIVE_INFINITY],
    [-2, 0, 1],
    [1, Number.NaN, 1],
    [-2, 3, -8],
    [-2, 0.5, Number.NaN],
  ])
    expect([x, p, await power(x, p)]).toEqual([x, p, y]);
  const x = input([1], 1, { scale: 0 });
  ops.pow(x, 1).sum().backward();
  expect(await x.grad?.item()).toBe(1);
});

test("sin and cos of what has no angle are NaN", async () => {
  for (const x of [Number.NaN, Number.POSITIVE_INFINITY]) {
    expect(await ops.sin(Tensor.from([x])).item()).toBeNaN();
    expect(await ops.cos(Tensor.from([x])).item()).toBeNaN();
  }
});

test.skipIf(!gpu.target.f16)("cast rounds to f16 and brings the gradient back in f32", async () => {
  const x = Tensor.from([1 / 3]);
  x.requiresGrad = true;
  const y = x.cast("f16");
  expect((await y.data())[0]).toBe(0.333251953125);
  y.cast("f32").mul(3).sum().backward();
  expect(x.grad?.dtype).toBe("f32");
  expect(await x.grad?.tolist()).toEqual([3]);
});

test("gelu equals its definition, exact and by tanh", async () => {
  const x = input([33], 5, { scale: 3 });
  const xs = Array.from(await x.data());
  expect(
    worst(
      await x.gelu().data(),
      xs.map((v) => 0.5 * v * (1 + erf(v / Math.SQRT2))),
    ),
  ).toBeLessThan(1e-6);
  const approximate = xs.map((v) => 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))));
  expect(worst(await x.gelu({ approximate: "tanh" }).data(), approximate)).toBeLessThan(1e-6);
  await gradcheck((t) => t.gelu(), [input([5])]);
});

test("empty tensors pass through", async () => {
  expect((await zeros([0, 3]).add(1).exp().data()).length).toBe(0);
});
