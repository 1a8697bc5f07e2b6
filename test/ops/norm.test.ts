import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { ones } from "../../framework/ops/create.ts";
import { layerNorm, rmsNorm } from "../../framework/ops/norm.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

const shapes = [
  [1, 1],
  [3, 17],
  [64, 128],
  [5, 1031],
];

describe("rmsNorm", () => {
  test.each(shapes)("of [%p, %p] equals float64", async (rows, columns) => {
    const [x, w] = [input([rows, columns], 1), input([columns], 2)];
    const [xs, ws] = [await x.data(), await w.data()];
    const expected = Array.from(xs, (v, i) => {
      const row = Array.from(xs).slice(Math.floor(i / columns) * columns, Math.floor(i / columns) * columns + columns);
      return (v / Math.sqrt(row.reduce((s: number, r: number) => s + r * r, 0) / columns + 1e-6)) * ws[i % columns];
    });
    expect(worst(await rmsNorm(x, w).data(), expected)).toBeLessThan(1e-5);
  });
  test.each([
    [1, 4],
    [3, 7],
    [130, 4],
  ])("of [%p, %p] passes gradcheck", async (rows, columns) => {
    await gradcheck((x, w) => rmsNorm(x, w), [input([rows, columns], 1, { scale: 2 }), input([columns], 2)], {
      tolerance: 2e-2,
    });
  });
  test("adds its weight's gradient into what is there", async () => {
    const [x, w] = [input([5, 8], 1), input([8], 2)];
    rmsNorm(x, w).sum().backward();
    const once = await w.grad?.data();
    rmsNorm(x, w).sum().backward();
    expect(
      worst(
        (await w.grad?.data()) ?? [],
        Array.from(once ?? [], (v) => 2 * v),
      ),
    ).toBeLessThan(1e-5);
  });
  test("names the wrong weight", () => {
    expect(() => rmsNorm(ones([2, 8]), ones([7]))).toThrow("rmsNorm: weight is [7], expected [8] (x is [2, 8])");
  });
  test.skipIf(!gpu.target.f16)("takes f16", async () => {
    const [x, w] = [input([4, 12], 1), input([12], 2)];
    const y = rmsNorm(x.cast("f16"), w);
    expect(y.dtype).toBe("f16");
    expect(worst(await y.data(), await rmsNorm(x, w).data())).toBeLessThan(2e-3);
  });
});

describe("layerNorm", () => {
  test("has mean 0 and variance 1 along its rows, and passes gradcheck", async () => {
    const y = layerNorm(input([3, 50], 1, { scale: 4, shift: 2 }));
    expect(worst(await y.mean(-1).data(), [0, 0, 0])).toBeLessThan(1e-5);
    expect(worst(await y.var(-1, { correction: 0 }).data(), [1, 1, 1])).toBeLessThan(1e-4);
    await gradcheck((x, w, b) => layerNorm(x, w, b), [input([2, 5], 1, { scale: 2 }), input([5], 2), input([5], 3)]);
  });
});

test.skipIf(!gpu.target.f16)("layerNorm of f16 whose squares f16 does not hold", async () => {
  const y = layerNorm(Tensor.from([300, -300, 300, -300], { dtype: "f16", shape: [1, 4] }));
  expect([y.dtype, ...(await y.data())]).toEqual(["f16", 1, -1, 1, -1]);
});
