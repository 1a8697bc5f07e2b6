import { expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { noGrad } from "../../framework/autograd/graph.ts";
import { Attention, Linear, LowRank, RMSNorm, SwiGLU } from "../../framework/nn/index.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import type { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, noise, worst } from "../ops/support.ts";

/** A pair whose B is not zero. */
function pair(layer: Linear, options = { rank: 2, alpha: 3 }): LowRank {
  const low = new LowRank(layer.weight, options);
  low.B.write(noise(low.B.size, 7));
  layer.adapter = low;
  return low;
}

test("a layer with an adapter is x Wᵀ + alpha / rank · x Aᵀ Bᵀ, and passes gradcheck", async () => {
  const layer = new Linear(6, 5);
  layer.freeze();
  const { A, B } = pair(layer);
  const [x, residual] = [input([3, 6], 1), input([3, 5], 2)];
  const expected = x
    .matmul(layer.weight.transpose())
    .add(layer.bias as Tensor)
    .add(x.matmul(A.transpose()).matmul(B.transpose()).mul(1.5))
    .add(residual);
  expect(worst(await layer.forward(x, residual).data(), await expected.data())).toBeLessThan(1e-5);
  await gradcheck((...inputs) => layer.forward(inputs[0], inputs[1]), [x, residual, A, B]);
  expect(layer.weight.grad).toBeUndefined();
});

test("A begins within Kaiming's bound and B zero, so that the layer is unchanged, bit for bit", async () => {
  manualSeed(3);
  const layer = new Linear(16, 8, { bias: false });
  const x = input([3, 16], 1);
  const before = await layer.forward(x).data();
  layer.adapter = new LowRank(layer.weight, { rank: 4, alpha: 8 });
  const values = await layer.adapter.A.data();
  expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(0.25);
  expect(Math.max(...values.map(Math.abs))).toBeGreaterThan(0.15);
  expect(await layer.forward(x).data()).toEqual(before);
});

test("it is no parameter of its layer, and drops of its input in training only", async () => {
  const layer = new Linear(16, 8, { bias: false });
  const names = [...layer.namedParameters().keys()];
  pair(layer, { rank: 2, alpha: 2, dropout: 0.5 } as { rank: number; alpha: number });
  expect([...layer.namedParameters().keys()]).toEqual(names);
  const x = input([3, 16], 1);
  const twice = async () => worst(await layer.forward(x).data(), await layer.forward(x).data());
  expect(await twice()).toBeGreaterThan(1e-3);
  layer.eval();
  expect(await twice()).toBe(0);
});

/** What a module gives with adapters on some of its layers equals what it gives with their product in the weights. */
async function agrees(layers: Linear[], forward: () => Tensor): Promise<void> {
  for (const recording of [true, false]) {
    const run = async () => (recording ? forward() : noGrad(forward)).data();
    const pairs = layers.map((layer) => pair(layer));
    const adapted = await run();
    const before = await Promise.all(layers.map(({ weight }) => weight.data()));
    for (const [i, layer] of layers.entries()) {
      const delta = await pairs[i].delta().data();
      layer.weight.write(before[i].map((w, k) => w + delta[k]) as Float32Array);
      layer.adapter = undefined;
    }
    expect(worst(adapted, await run())).toBeLessThan(2e-5);
    for (const [i, { weight }] of layers.entries()) weight.write(before[i]);
  }
}

test("attention and the MLP take adapters on any of their projections, in the graph and decoding", async () => {
  const norm = new RMSNorm(16);
  for (const length of [1, 3]) {
    const x = input([1, length, 16], 1);
    const attention = new Attention({ hidden: 16, heads: 2, kvHeads: 1, headDim: 8, normEps: 1e-6 });
    const { q_proj, k_proj, v_proj, o_proj } = attention;
    for (const layers of [[q_proj, v_proj], [k_proj], [o_proj], [q_proj, k_proj, v_proj, o_proj]])
      await agrees(layers, () => attention.forward(x, {}, x, norm));
    const mlp = new SwiGLU(16, 24);
    const { gate_proj, up_proj, down_proj } = mlp;
    for (const layers of [[up_proj], [down_proj], [gate_proj, up_proj, down_proj]])
      await agrees(layers, () => mlp.forward(x, x, norm));
  }
});

test.skipIf(!gpu.target.f16)("in f16 the result is f16 and near f32's, with dropout too", async () => {
  const layer = new Linear(16, 8, { bias: false });
  pair(layer);
  const x = input([3, 16], 1);
  const half = layer.forward(x.cast("f16"));
  expect(half.dtype).toBe("f16");
  expect(worst(await half.data(), await layer.forward(x).data())).toBeLessThan(1e-2);
  pair(layer, { rank: 2, alpha: 2, dropout: 0.5 } as { rank: number; alpha: number });
  expect(layer.forward(x.cast("f16")).dtype).toBe("f16");
});
