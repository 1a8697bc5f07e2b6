import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { adjoin, parameter } from "../../framework/nn/module.ts";
import { zeros } from "../../framework/ops/create.ts";
import { linear, packedLinear } from "../../framework/ops/linear.ts";
import { matmul } from "../../framework/ops/matmul.ts";
import { concat } from "../../framework/ops/shape.ts";
import type { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

describe("linear", () => {
  test("equals x · weightᵀ + bias and passes gradcheck", async () => {
    const [x, w, b] = [input([2, 3, 4], 1), input([5, 4], 2), input([5], 3)];
    const expected = matmul(x, w.transpose()).add(b);
    expect(worst(await linear(x, w, b).data(), await expected.data())).toBeLessThan(1e-5);
    await gradcheck(linear, [x, w, b]);
    await gradcheck((t, u) => linear(t, u), [input([1, 3]), input([2, 3], 2)]);
  });
  test("adds its weight's gradient into what is there", async () => {
    const [x, w, b] = [input([6, 4], 1), input([5, 4], 2), input([5], 3)];
    linear(x, w, b).sum().backward();
    const [once, onceBias] = [await w.grad?.data(), await b.grad?.data()];
    linear(x, w, b).sum().backward();
    expect(
      worst(
        (await w.grad?.data()) ?? [],
        Array.from(once ?? [], (v) => 2 * v),
      ),
    ).toBeLessThan(1e-5);
    expect(
      worst(
        (await b.grad?.data()) ?? [],
        Array.from(onceBias ?? [], (v) => 2 * v),
      ),
    ).toBeLessThan(1e-5);
  });
  test("names shapes that do not fit", () => {
    expect(() => linear(zeros([2, 3]), zeros([5, 4]))).toThrow(
      "linear: x is [2, 3] and weight [5, 4], expected [..., in] and [out, in]",
    );
    expect(() => linear(zeros([2, 4]), zeros([5, 4]), zeros([4]))).toThrow("linear: bias is [4], expected [5]");
  });
  test("adds a residual in the same launch, and hands its gradient on", async () => {
    const [x, w, r] = [input([2, 3, 4], 1), input([5, 4], 2), input([2, 3, 5], 3)];
    const expected = matmul(x, w.transpose()).add(r);
    const before = gpu.stats.dispatches;
    const y = linear(x, w, undefined, r);
    expect(gpu.stats.dispatches - before).toBe(1);
    expect(worst(await y.data(), await expected.data())).toBeLessThan(1e-5);
    await gradcheck((a, b, c) => linear(a, b, undefined, c), [x, w, r]);
    await gradcheck((a, b, c, d) => linear(a, b, d, c), [x, w, r, input([5], 4)]);
    expect(() => linear(zeros([2, 4]), zeros([5, 4]), undefined, zeros([5]))).toThrow(
      "linear: residual is [5], expected [2, 5]",
    );
  });
});

describe("packedLinear", () => {
  const weights = () => [input([3, 4], 2), input([5, 4], 3), input([1, 4], 4)];

  test("puts the layers' results side by side and passes gradcheck", async () => {
    const x = input([2, 3, 4], 1);
    const ws = weights();
    const expected = concat(
      ws.map((w) => linear(x, w)),
      -1,
    );
    expect(worst(await packedLinear(x, ws).data(), await expected.data())).toBeLessThan(1e-6);
    await gradcheck((a, ...b) => packedLinear(a, b), [x, ...ws]);
  });

  test("reads weights that lie one behind the other in one launch, and adds to their gradients in one", async () => {
    const [x, ws] = [input([6, 16], 1), [input([16, 16], 2), input([32, 16], 3)]];
    const expected = linear(x, ws[0]).sum().add(linear(x, ws[1]).mul(2).sum());
    expected.backward();
    const apart = await Promise.all(ws.map((w) => (w.grad as Tensor).data()));
    const joined = adjoin(ws.map((w) => parameter(w.detach().clone())));
    const grads = adjoin(ws.map((w) => w.grad as Tensor));
    joined.forEach((w, i) => {
      w.grad = grads[i];
    });
    const scale = concat([zeros([16]).add(1), zeros([32]).add(2)], 0);
    let before = gpu.stats.dispatches;
    const y = packedLinear(x.detach(), joined);
    expect(gpu.stats.dispatches - before).toBe(1);
    const loss = y.mul(scale).sum();
    before = gpu.stats.dispatches;
    loss.backward();
    expect(gpu.stats.dispatches - before).toBeLessThan(5);
    for (const [i, w] of joined.entries())
      expect(
        worst(
          await (w.grad as Tensor).data(),
          Array.from(apart[i], (v) => 2 * v),
        ),
      ).toBeLessThan(1e-5);
  });

  test("names the weight that does not fit", () => {
    expect(() => packedLinear(zeros([2, 4]), [zeros([3, 4]), zeros([3, 5])])).toThrow(
      "packedLinear: x is [2, 4] and weight [3, 5], expected [..., in] and [out, in]",
    );
  });
});
