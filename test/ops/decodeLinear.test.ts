import { expect, test } from "bun:test";
import { noGrad } from "../../framework/autograd/graph.ts";
import { adjoin } from "../../framework/nn/module.ts";
import { swiglu } from "../../framework/ops/activation.ts";
import { gatedLinear, normedLinear, plainLinear } from "../../framework/ops/decodeLinear.ts";
import { linear, packedLinear } from "../../framework/ops/linear.ts";
import { rmsNorm } from "../../framework/ops/norm.ts";
import { cast } from "../../framework/ops/pointwise.ts";
import type { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

const norm = { weight: input([32], 3), eps: 1e-6 };
const weights = adjoin([input([16, 32], 1), input([32, 32], 2)]);
const pair = adjoin([input([16, 32], 8), input([16, 32], 9)]) as [Tensor, Tensor];
const half = (x: Tensor) => cast(x, "f16");
const launches = (work: () => Tensor) => {
  const before = gpu.stats.dispatches;
  const y = noGrad(work);
  return { y, count: gpu.stats.dispatches - before };
};

test("a normalised product, a gated one and a plain one are a launch each outside the graph, and equal the ops", async () => {
  const x = input([1, 1, 32], 4);
  const normed = launches(() => normedLinear(x, norm, weights));
  expect(normed.count).toBe(1);
  expect(worst(await normed.y.data(), await packedLinear(rmsNorm(x, norm.weight), weights).data())).toBeLessThan(1e-5);
  for (const before of [norm, undefined]) {
    const gated = launches(() => gatedLinear(x, pair, before));
    expect(gated.count).toBe(1);
    const both = packedLinear(before ? rmsNorm(x, norm.weight) : x, pair);
    expect(worst(await gated.y.data(), await swiglu(both).data())).toBeLessThan(1e-5);
  }
  const [weight, residual] = [input([12, 32], 6), input([1, 1, 12], 7)];
  const plain = launches(() => plainLinear(x, weight, residual));
  expect(plain.count).toBe(1);
  expect(worst(await plain.y.data(), await linear(x, weight, undefined, residual).data())).toBeLessThan(1e-5);
});

test.skipIf(!gpu.target.f16)("a row and its weights in f16 are one launch, and equal the op", async () => {
  const weight = input([12, 32], 6);
  const [x, residual] = [half(input([1, 1, 32], 4)), half(input([1, 1, 12], 7))];
  expect(launches(() => plainLinear(input([1, 32], 4), weight)).y.dtype).toBe("f32");
  const halves = half(weight);
  const plain = launches(() => plainLinear(x, halves, residual));
  expect(plain.count).toBe(1);
  expect(worst(await plain.y.data(), await linear(x, halves, undefined, residual).data())).toBeLessThan(2e-3);
  const odd = launches(() => plainLinear(half(input([1, 12], 4)), half(input([8, 12], 5))));
  expect(worst(await odd.y.data(), await linear(input([1, 12], 4), input([8, 12], 5)).data())).toBeLessThan(5e-3);
});

test("within the graph, for many rows and for odd sizes they are the ops, with their gradients", async () => {
  const x = input([1, 32], 4);
  normedLinear(x, norm, weights).sum().backward();
  expect(x.grad).toBeDefined();
  const many = input([9, 32], 5);
  const { y, count } = launches(() => normedLinear(many, norm, weights));
  expect(count).toBeGreaterThan(1);
  expect(worst(await y.data(), await packedLinear(rmsNorm(many, norm.weight), weights).data())).toBeLessThan(1e-5);
  const odd = adjoin([input([6, 32], 6), input([6, 32], 7)]) as [Tensor, Tensor];
  const gated = launches(() => gatedLinear(x, odd, norm));
  expect(gated.count).toBeGreaterThan(1);
  expect(worst(await gated.y.data(), await swiglu(packedLinear(rmsNorm(x, norm.weight), odd)).data())).toBeLessThan(
    1e-5,
  );
  gatedLinear(x, pair, norm).sum().backward();
  expect(pair[1].grad).toBeDefined();
});
