import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { noGrad } from "../../framework/autograd/graph.ts";
import { zeros } from "../../framework/ops/create.ts";
import { linearCrossEntropy } from "../../framework/ops/linearCrossEntropy.ts";
import { linearLogProbs } from "../../framework/ops/linearLogProbs.ts";
import { scope } from "../../framework/tensor/scope.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, leftBehind, worst } from "./support.ts";

const ints = (...values: number[]) => Tensor.from(Int32Array.from(values));
const someLabels = (n: number, v: number) =>
  Int32Array.from({ length: n }, (_, i) => (i % 5 === 1 ? -100 : (i * 7919) % v));

interface Sizes {
  n: number;
  d: number;
  v: number;
}

/** Log-probabilities, and the gradients of their sum weighted by dy, in double precision. */
function oracle(
  x: ArrayLike<number>,
  w: ArrayLike<number>,
  labels: Int32Array,
  dy: ArrayLike<number>,
  { n, d, v }: Sizes,
) {
  const [y, dx, dw] = [new Float64Array(n), new Float64Array(n * d), new Float64Array(v * d)];
  for (let r = 0; r < n; r++) {
    if (labels[r] === -100) continue;
    const logits = new Float64Array(v);
    for (let c = 0; c < v; c++) for (let i = 0; i < d; i++) logits[c] += x[r * d + i] * w[c * d + i];
    const top = logits.reduce((a, b) => Math.max(a, b));
    const lse = top + Math.log(logits.reduce((sum, l) => sum + Math.exp(l - top), 0));
    y[r] = logits[labels[r]] - lse;
    for (let c = 0; c < v; c++) {
      const slope = dy[r] * ((c === labels[r] ? 1 : 0) - Math.exp(logits[c] - lse));
      for (let i = 0; i < d; i++) {
        dx[r * d + i] += slope * w[c * d + i];
        dw[c * d + i] += slope * x[r * d + i];
      }
    }
  }
  return { y, dx, dw };
}

describe.each([
  [1, 1, 1],
  [3, 5, 7],
  [33, 17, 131],
  [300, 2, 1 << 16], // two pieces
])("linearLogProbs of [%p, %p] over %p classes", (n, d, v) => {
  test("equals float64 in value and gradients, once and accumulated", async () => {
    const [x, w] = [input([n, d], 1), input([v, d], 2)];
    const [labels, dy] = [someLabels(n, v), Float32Array.from({ length: n }, (_, i) => Math.sin(i) + 0.2)];
    const expected = oracle(await x.data(), await w.data(), labels, dy, { n, d, v });
    for (const times of [1, 2]) {
      const y = linearLogProbs(x, w, Tensor.from(labels));
      expect(y.shape).toEqual([n]);
      expect(worst(await y.data(), expected.y)).toBeLessThan(1e-5);
      y.backward({ gradient: Tensor.from(dy) });
      const grads = await Promise.all([x, w].map((t) => (t.grad as Tensor).data()));
      const scaled = [expected.dx, expected.dw].map((g) => g.map((value) => value * times));
      expect(worst(grads[0], scaled[0])).toBeLessThan(1e-5);
      expect(worst(grads[1], scaled[1])).toBeLessThan(2e-5);
    }
  });
});

test("passes gradcheck, and wants no gradient of what is frozen", async () => {
  const [x, w] = [input([3, 2], 1), input([4, 2], 2)];
  const labels = ints(1, -100, 0);
  await gradcheck((a, b) => linearLogProbs(a, b, labels), [x, w]);
  const frozen = w.detach();
  linearLogProbs(x, frozen, labels).sum().backward();
  expect(x.grad).toBeDefined();
  expect(frozen.grad).toBeUndefined();
});

test("its sum is minus the cross-entropy's, gradients too", async () => {
  const [x, w, labels] = [input([9, 4], 1), input([11, 4], 2), Tensor.from(someLabels(9, 11))];
  const gradients = async (loss: Tensor) => {
    x.grad = w.grad = undefined;
    loss.backward();
    return [x, w].map((t) => t.grad as unknown as Tensor);
  };
  const sum = linearLogProbs(x, w, labels).sum().neg();
  const other = linearCrossEntropy(x, w, labels, { reduction: "sum" });
  expect(await sum.item()).toBeCloseTo(await other.item(), 5);
  const [a, b] = [await gradients(sum), await gradients(other)];
  for (const i of [0, 1]) expect(worst(await a[i].data(), await b[i].data())).toBeLessThan(1e-5);
});

test("no row at all gives none, and a weight's gradient of zeros", async () => {
  const [x, w] = [input([0, 3]), input([5, 3])];
  linearLogProbs(x, w, ints()).sum().backward();
  expect(Array.from(await (w.grad as Tensor).data())).toEqual(new Array(15).fill(0));
});

test("an ignored row gives 0 under any number, a label outside the classes NaN", async () => {
  const y = await linearLogProbs(input([2, 3]), input([5, 3]), ints(7, 5), { ignoreIndex: 7 }).data();
  expect([Math.abs(y[0]), y[1]]).toEqual([0, Number.NaN]);
});

test("leaves nothing behind", async () => {
  const [x, w, labels] = [input([9, 4], 1), input([11, 4], 2), Tensor.from(someLabels(9, 11))];
  const work = () => scope(() => linearLogProbs(x, w, labels).sum().backward());
  work(); // the gradients' own buffers
  expect(await leftBehind(work)).toBe(0);
  expect(await leftBehind(() => noGrad(() => scope(() => void linearLogProbs(x, w, labels))))).toBe(0);
});

test.skipIf(!gpu.target.f16)("takes f16, whose gradients come multiplied by gradientScale", async () => {
  const [x, w, labels] = [input([9, 4], 1), input([11, 4], 2), Tensor.from(someLabels(9, 11))];
  const rounded = (await x.cast("f16").data()) as Float32Array;
  const dy = new Float32Array(9).fill(1e-7); // nothing that f16 holds
  const expected = oracle(rounded, await w.data(), someLabels(9, 11), dy, { n: 9, d: 4, v: 11 });
  const y = linearLogProbs(x.cast("f16"), w, labels, { gradientScale: Tensor.from([1024]) });
  expect(y.dtype).toBe("f32");
  expect(worst(await y.data(), expected.y)).toBeLessThan(1e-5);
  y.backward({ gradient: Tensor.from(dy) });
  for (const [t, gradient] of [
    [x, expected.dx],
    [w, expected.dw],
  ] as const) {
    const found = Float64Array.from(await (t.grad as Tensor).data(), (g) => g / 1024 / 1e-7);
    expect(
      worst(
        found,
        gradient.map((g) => g / 1e-7),
      ),
    ).toBeLessThan(5e-3);
  }
});

test("names what does not fit", () => {
  expect(() => linearLogProbs(zeros([2, 3]), zeros([5, 4]), ints(0, 0))).toThrow(
    "linearLogProbs: x is [2, 3] and weight [5, 4], expected [N, D] and [V, D]",
  );
  expect(() => linearLogProbs(zeros([2, 3]), zeros([5, 3]), ints(0))).toThrow(
    "linearLogProbs: labels are [1], expected one for each row of [2, 3]",
  );
  expect(() => linearLogProbs(zeros([1, 3]), zeros([5, 3]), zeros([1]))).toThrow(
    "linearLogProbs: labels are f32, expected i32",
  );
  expect(() => linearLogProbs(ints(1).reshape(1, 1), zeros([5, 1]), ints(0))).toThrow("linearLogProbs: x is i32");
});

test.skipIf(!gpu.target.f16)("refuses an f16 gradient without a scale", () => {
  expect(() => linearLogProbs(input([1, 3]).cast("f16"), input([5, 3]), ints(0))).toThrow(
    "linearLogProbs: x is f16 and its gradient is wanted, but no gradientScale is given",
  );
});
