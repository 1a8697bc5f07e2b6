import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { zeros } from "../../framework/ops/create.ts";
import { linearCrossEntropy } from "../../framework/ops/linearCrossEntropy.ts";
import { linearLogProbs } from "../../framework/ops/linearLogProbs.ts";
import { matmul } from "../../framework/ops/matmul.ts";
import { crossEntropy, logSoftmax, softmax } from "../../framework/ops/softmax.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

const ints = (...values: number[]) => Tensor.from(Int32Array.from(values));

describe.each([
  ["softmax", softmax, (p: number) => p],
  ["logSoftmax", logSoftmax, Math.log],
] as const)("%s", (_, fn, of) => {
  test.each([
    [1, 1],
    [3, 17],
    [4, 1031],
  ])("of [%p, %p] equals float64", async (rows, columns) => {
    const x = input([rows, columns], 2, { scale: 8 });
    const xs = await x.data();
    const expected = Array.from(xs, (v, i) => {
      const row = Array.from(xs).slice(Math.floor(i / columns) * columns, Math.floor(i / columns) * columns + columns);
      return of(Math.exp(v) / row.reduce((s: number, r: number) => s + Math.exp(r), 0));
    });
    expect(worst(await fn(x).data(), expected)).toBeLessThan(2e-6);
  });
  test("runs along any axis and passes gradcheck", async () => {
    await gradcheck((x) => fn(x, 1), [input([2, 3, 2], 1, { scale: 2 })]);
    expect(
      worst(
        await fn(input([3, 4]), 0).data(),
        await fn(input([3, 4]).transpose())
          .transpose()
          .data(),
      ),
    ).toBeLessThan(1e-6);
  });
  test("has a second derivative", async () => {
    const x = input([4], 3);
    fn(x).pow(2).sum().backward({ createGraph: true });
    const first = x.grad as Tensor;
    x.grad = undefined;
    first.pow(2).sum().backward();
    expect((await (x.grad as unknown as Tensor).data()).every(Number.isFinite)).toBe(true);
  });
});

test("softmax of very large logits does not overflow", async () => {
  expect(await softmax(Tensor.from([1e30, 1e30, -1e30])).tolist()).toEqual([0.5, 0.5, 0]);
});

describe("crossEntropy", () => {
  const labels = ints(1, -100, 4, 0);
  test("equals −logSoftmax at the labels, ignored rows left out", async () => {
    const x = input([4, 5], 1, { scale: 3 });
    const rows = (await logSoftmax(x).tolist()) as number[][];
    const losses = [-rows[0][1], 0, -rows[2][4], -rows[3][0]];
    const total = losses.reduce((a, b) => a + b);
    expect(await crossEntropy(x, labels).item()).toBeCloseTo(total / 3, 5);
    expect(await crossEntropy(x, labels, { reduction: "sum" }).item()).toBeCloseTo(total, 5);
    expect(worst(await crossEntropy(x, labels, { reduction: "none" }).data(), losses)).toBeLessThan(1e-5);
  });
  test("passes gradcheck in all reductions", async () => {
    for (const reduction of ["mean", "sum", "none"] as const)
      await gradcheck((x) => crossEntropy(x, labels, { reduction }), [input([4, 5], 1)]);
  });
  test("a label outside the classes gives NaN", async () => {
    expect(await crossEntropy(input([1, 3]), ints(3)).item()).toBeNaN();
  });
  test("names labels of the wrong count or dtype", () => {
    expect(() => crossEntropy(zeros([4, 5]), ints(1, 2))).toThrow(
      "crossEntropy: labels are [2], expected one for each row of [4, 5]",
    );
    expect(() => crossEntropy(zeros([1, 5]), zeros([1]))).toThrow("crossEntropy: labels are f32, expected i32");
  });
});

describe("linearCrossEntropy", () => {
  test("equals crossEntropy of the product, in value and gradients, over several pieces", async () => {
    const [n, d, v] = [200, 6, 1 << 17]; // 128 rows a piece
    const [x, w] = [input([n, d], 1), input([v, d], 2)];
    const labels = Tensor.from(Int32Array.from({ length: n }, (_, i) => (i % 7 === 0 ? -100 : (i * 7919) % v)));
    const fused = linearCrossEntropy(x, w, labels);
    fused.mul(2).backward();
    const [dx, dw] = [x.grad as Tensor, w.grad as Tensor];
    x.grad = w.grad = undefined;
    const plain = crossEntropy(matmul(x, w.transpose()), labels);
    plain.mul(2).backward();
    expect(await fused.item()).toBeCloseTo(await plain.item(), 4);
    expect(worst(await dx.data(), await (x.grad as unknown as Tensor).data())).toBeLessThan(1e-5);
    expect(worst(await dw.data(), await (w.grad as unknown as Tensor).data())).toBeLessThan(1e-5);
  });
  test("logits of a batch never exist whole, though they be few", () => {
    const rows: number[] = [];
    gpu.observer = ({ name }, _, __, uniforms) => {
      if (name === "crossEntropy") rows.push(uniforms.rows);
      return false;
    };
    try {
      linearCrossEntropy(zeros([1000, 4]), zeros([9, 4]), Tensor.from(new Int32Array(1000)));
    } finally {
      gpu.observer = undefined;
    }
    expect(rows).toEqual([512, 488]);
  });
  test("passes gradcheck", async () => {
    await gradcheck((x, w) => linearCrossEntropy(x, w, ints(1, -100, 0)), [input([3, 2], 1), input([4, 2], 2)]);
  });
  test("rowWeights multiply each row's loss, and not what the mean divides by", async () => {
    const [x, w, labels] = [input([6, 4], 1), input([9, 4], 2), ints(1, -100, 0, 8, 8, 2)];
    const weights = Tensor.from([1, 5, 10, 0, 0.5, 1]);
    const losses = linearLogProbs(x, w, labels).neg().mul(weights);
    const [mean, sum] = (["mean", "sum"] as const).map((reduction) =>
      linearCrossEntropy(x, w, labels, { reduction, rowWeights: weights }),
    );
    expect(await sum.item()).toBeCloseTo(await losses.sum().item(), 5);
    expect(await mean.item()).toBeCloseTo((await losses.sum().item()) / 5, 5);
    await gradcheck((x, w) => linearCrossEntropy(x, w, labels, { rowWeights: weights }), [x, w]);
    expect(() => linearCrossEntropy(x, w, labels, { rowWeights: zeros([5]) })).toThrow(
      "linearCrossEntropy: rowWeights is [5], expected [6]",
    );
  });
  test("names shapes that do not fit", () => {
    expect(() => linearCrossEntropy(zeros([2, 3]), zeros([5, 4]), ints(0, 0))).toThrow(
      "linearCrossEntropy: x is [2, 3] and weight [5, 4]",
    );
  });
});
