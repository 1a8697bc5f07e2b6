import { expect, test } from "bun:test";
import {
  Attention,
  Dropout,
  Embedding,
  LayerNorm,
  Linear,
  Module,
  RMSNorm,
  Sequential,
  SwiGLU,
} from "../../framework/nn/index.ts";
import { scaledDotProductAttention } from "../../framework/ops/attention.ts";
import { ones } from "../../framework/ops/create.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, leftBehind, noise, worst } from "../ops/support.ts";

class Tied extends Module {
  readonly embed = new Embedding(5, 3);
  readonly blocks = [new Linear(3, 3), new Linear(3, 3, { bias: false })];
  readonly head = this.embed;
  forward(x: Tensor): Tensor {
    return this.blocks.reduce((h, block) => block.forward(h), x);
  }
}

test("parameters are named by their path, each once", () => {
  const model = new Tied();
  expect([...model.namedParameters().keys()]).toEqual([
    "embed.weight",
    "blocks.0.weight",
    "blocks.0.bias",
    "blocks.1.weight",
  ]);
  expect(model.numParameters()).toBe(15 + 9 + 3 + 9);
  model.dispose();
});

test("a state dict goes into another model of the same shape", async () => {
  const [a, b] = [new Tied(), new Tied()];
  const state = new Map<string, { shape: readonly number[]; data: ArrayLike<number> }>();
  for (const [name, p] of a.stateDict()) state.set(name, { shape: p.shape, data: await p.data() });
  b.loadStateDict(state);
  const x = input([2, 3]);
  expect([...(await b.forward(x).data())]).toEqual([...(await a.forward(x).data())]);
});

test("weights that do not fit are listed, and change nothing", async () => {
  const model = new Linear(2, 2);
  const before = await model.weight.data();
  const state = new Map([
    ["weight", { shape: [2, 3], data: new Float32Array(6) }],
    ["extra", { shape: [1], data: new Float32Array(1) }],
  ]);
  expect(() => model.loadStateDict(state)).toThrow(
    /weight is \[2, 3\], expected \[2, 2\]\n {2}bias is missing\n {2}extra is not in the model/,
  );
  expect([...(await model.weight.data())]).toEqual([...before]);
  state.delete("weight");
  model.loadStateDict(state, { strict: false });
});

test("train and eval reach every module", () => {
  const model = new Sequential(new Linear(2, 2), new Dropout(0.9), (x) => x.relu());
  expect(
    model
      .eval()
      .modules()
      .every((m) => !m.training),
  ).toBe(true);
  const x = ones([4, 2]);
  expect((model.layers[1] as Dropout).forward(x)).toBe(x);
  expect(
    model
      .train()
      .modules()
      .every((m) => m.training),
  ).toBe(true);
});

test("layers compute what their names say", async () => {
  const x = input([4, 6], 1, { scale: 3, shift: 1 });
  expect(worst(await new RMSNorm(6).forward(x).pow(2).mean(-1).data(), [1, 1, 1, 1])).toBeLessThan(1e-4);
  expect(worst(await new LayerNorm(6).forward(x).mean(-1).data(), [0, 0, 0, 0])).toBeLessThan(1e-5);
  expect([...new SwiGLU(6, 10).forward(x).shape]).toEqual([4, 6]);
  expect([...new Embedding(7, 3).forward(Tensor.from(Int32Array.of(1, 6))).shape]).toEqual([2, 3]);
});

test("attention mixes earlier tokens only, unless it is bidirectional, and gradients reach all of it", async () => {
  const x = input([1, 4, 8], 1);
  const changed = Tensor.from(
    Array.from(await x.data(), (v, i) => (i >= 24 ? v + 1 : v)),
    { shape: [1, 4, 8] },
  ); // the last token
  for (const bidirectional of [false, true]) {
    const layer = new Attention({ hidden: 8, heads: 4, kvHeads: 2, headDim: 4, normEps: 1e-6, bidirectional });
    const [a, b] = [layer.forward(x).slice(1, 0, 3), layer.forward(changed).slice(1, 0, 3)];
    expect(worst(await a.data(), await b.data()) > 1e-6).toBe(bidirectional);
    layer.forward(x).pow(2).sum().backward();
    for (const [, p] of layer.namedParameters()) expect((await (p.grad as Tensor).abs().sum().item()) > 0).toBe(true);
    layer.dispose();
  }
});

test("dispose frees all parameters", async () => {
  expect(await leftBehind(() => new Tied().dispose())).toBe(0);
});

test("a frozen module gets no gradient, though it was trained before, and keeps f16 copies where asked", async () => {
  const { f16 } = gpu.target;
  const layer = new Linear(16, 8);
  const x = input([3, 16], 1);
  layer.forward(x).sum().backward();
  layer.weight.grad = undefined;
  layer.freeze({ halves: f16 });
  layer.forward(x).sum().backward();
  expect(layer.weight.grad).toBeUndefined();
  if (f16) expect(worst(await (layer.weight.half as Tensor).data(), await layer.weight.data())).toBeLessThan(1e-3);
  expect(layer.bias?.half).toBeUndefined();
  layer.dispose();
});

test("frozen parameters are still named, counted, saved and freed", async () => {
  const left = await leftBehind(() => {
    const layer = new Linear(3, 2);
    layer.weight.requiresGrad = false;
    expect([...layer.stateDict().keys()]).toEqual(["weight", "bias"]);
    expect(layer.numParameters()).toBe(8);
    layer.dispose();
  });
  expect(left).toBe(0);
});

test("attention with biases on queries, keys and values equals its layers one by one, gradients too", async () => {
  const attention = new Attention({ hidden: 8, heads: 4, kvHeads: 2, headDim: 4, bias: true, std: 0.5 });
  const { q_proj, k_proj, v_proj, o_proj } = attention;
  for (const [i, p] of attention.parameters().entries()) if (p.rank === 1) p.write(noise(p.size, i + 5));
  const x = input([1, 4, 8]);
  const heads = (layer: Linear, count: number) => layer.forward(x).reshape(1, 4, count, 4);
  const y = scaledDotProductAttention(heads(q_proj, 4), heads(k_proj, 2), heads(v_proj, 2), {
    causal: true,
    layout: "BTHD",
  });
  const apart = o_proj.forward(y.reshape(1, 4, 16));
  const together = attention.forward(x);
  expect(worst(await together.data(), await apart.data())).toBeLessThan(1e-5);
  const gradients = async (result: Tensor) => {
    result.mul(result).sum().backward();
    const grads = [];
    for (const p of [x, ...attention.parameters()]) {
      grads.push(await (p.grad as Tensor).data());
      p.grad = undefined;
    }
    return grads;
  };
  const [ours, theirs] = [await gradients(together), await gradients(apart)];
  for (const [i, gradient] of ours.entries()) expect(worst(gradient, theirs[i]!)).toBeLessThan(1e-4);
});
