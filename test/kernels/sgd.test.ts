import { expect, test } from "bun:test";
import { sgd } from "../../kernels/sgd.ts";
import { noise, runKernel, worst } from "./launch.ts";

const arrays = (updates: number, counts = 1) => ({
  p: noise(68, 1),
  g: noise(68, 2),
  v: noise(68, 3),
  control: Float32Array.of(0.5, 1, counts, updates),
});
const uniforms = { n: 67, learningRate: 0.1, momentum: 0.9, weightDecay: 0.01 };

test.each([1, 2])("update %p goes PyTorch's way: the first starts the velocity", async (updates) => {
  const given = arrays(updates);
  const { p, v } = await runKernel(sgd, given, ["p", "v"], {}, uniforms);
  const velocity = Array.from({ length: 67 }, (_, i) => {
    const g = given.g[i] * 0.5 + 0.01 * given.p[i];
    return updates === 1 ? g : 0.9 * given.v[i] + g;
  });
  expect(worst(v, [...velocity, given.v[67]])).toBeLessThan(1e-6);
  expect(worst(p, [...velocity.map((s, i) => given.p[i] - 0.1 * s), given.p[67]])).toBeLessThan(1e-6);
});

test("a step that does not count changes nothing", async () => {
  const given = arrays(3, 0);
  const { p, v } = await runKernel(sgd, given, ["p", "v"], {}, uniforms);
  expect([...p, ...v]).toEqual([...given.p, ...given.v]);
});
