import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { zeros } from "../../framework/ops/create.ts";
import { matmul } from "../../framework/ops/matmul.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

function product(a: ArrayLike<number>, b: ArrayLike<number>, m: number, k: number, n: number): number[] {
  return Array.from({ length: m * n }, (_, i) => {
    let sum = 0;
    for (let x = 0; x < k; x++) sum += a[Math.floor(i / n) * k + x] * b[x * n + (i % n)];
    return sum;
  });
}

describe("matmul", () => {
  test.each([
    [1, 1, 1],
    [3, 5, 7],
    [17, 31, 13],
    [64, 64, 64],
    [2, 129, 3],
  ])("of %p×%p and ×%p equals float64", async (m, k, n) => {
    const [a, b] = [input([m, k], 1), input([k, n], 2)];
    expect(worst(await matmul(a, b).data(), product(await a.data(), await b.data(), m, k, n))).toBeLessThan(1e-5);
  });
  test("broadcasts the leading axes", async () => {
    const [a, b] = [input([2, 1, 3, 4], 1), input([5, 4, 2], 2)];
    const y = matmul(a, b);
    expect([...y.shape]).toEqual([2, 5, 3, 2]);
    const [as, bs] = [await a.data(), await b.data()];
    const expected = [0, 1].flatMap((i) =>
      [0, 1, 2, 3, 4].flatMap((j) => product(as.slice(i * 12), bs.slice(j * 8), 3, 4, 2)),
    );
    expect(worst(await y.data(), expected)).toBeLessThan(1e-5);
  });
  test("passes gradcheck, plain, batched and broadcast", async () => {
    await gradcheck(matmul, [input([3, 2], 1), input([2, 5], 2)]);
    await gradcheck(matmul, [input([2, 3, 2], 1), input([2, 2, 3], 2)]);
    await gradcheck(matmul, [input([2, 1, 2, 3], 1), input([3, 3, 2], 2)]);
    await gradcheck(matmul, [input([2, 2, 3], 1), input([3, 2], 2)]);
  });
  test("takes vectors as PyTorch does", async () => {
    const [a, v] = [
      Tensor.from([
        [1, 2],
        [3, 4],
      ]),
      Tensor.from([10, 1]),
    ];
    expect(await matmul(a, v).tolist()).toEqual([12, 34]);
    expect(await matmul(v, a).tolist()).toEqual([13, 24]);
    expect(await matmul(v, v).item()).toBe(101);
  });
  test.skipIf(!gpu.target.f16)("takes f16, summing in f32", async () => {
    const [a, b] = [input([9, 40], 1), input([40, 6], 2)];
    const y = matmul(a.cast("f16"), b.cast("f16"));
    expect(y.dtype).toBe("f16");
    expect(worst(await y.data(), product(await a.data(), await b.data(), 9, 40, 6))).toBeLessThan(5e-3);
  });
  test("of nothing along k is zero", async () => {
    expect(await matmul(zeros([2, 0]), zeros([0, 2])).tolist()).toEqual([
      [0, 0],
      [0, 0],
    ]);
  });
  test("names the sizes that differ", () => {
    expect(() => matmul(zeros([2, 3]), zeros([4, 2]))).toThrow(
      "matmul: a is [2, 3] and b is [4, 2]: inner sizes 3 and 4 differ",
    );
  });
  test("has a second derivative", async () => {
    const [a, b] = [input([2, 3], 1), input([3, 2], 2)];
    matmul(a, b).pow(2).sum().backward({ createGraph: true });
    const da = a.grad as Tensor;
    a.grad = b.grad = undefined;
    da.sum().backward();
    expect((await (b.grad as unknown as Tensor).data()).some((v: number) => v !== 0)).toBe(true);
  });
});
