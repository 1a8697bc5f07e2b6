import {
  blockUntilReady,
  defaultDevice,
  init,
  type Array as JaxArray,
  jit,
  nn,
  numpy as np,
  type Tree,
  tree,
  valueAndGrad,
} from "@jax-js/jax";
import { attentionSize, type StepData } from "./data.ts";
import { decoder } from "./jaxDecode.ts";
import { type Peer, training } from "./peer.ts";

/** jax-js in its best idiom: the whole training step (loss, gradients, clip, AdamW) is one jit. It has no optimizer of its own. */
export async function jax(backend: "webgpu" | "wasm"): Promise<Peer> {
  if (!(await init(backend)).includes(backend)) throw new Error(`jax-js has no ${backend} here`);
  defaultDevice(backend);
  return { trainer, attention, decoder };
}

function trainer(data: StepData): (n: number) => Promise<number> {
  const { learningRate, beta1, beta2 } = training;
  const step = jit(stepOf(data));
  const all = (f: (p: StepData["parameters"][number]) => JaxArray): Tree =>
    Object.fromEntries(data.parameters.map((p) => [p.name, f(p)]));
  let p = all(({ data: values, shape }) => np.array(values).reshape(shape));
  let [m, v] = [all(({ shape }) => np.zeros(shape)), all(({ shape }) => np.zeros(shape))];
  const [ids, targets] = [data.ids, data.targets].map((x) => np.array(x, { dtype: np.int32 }));
  const scalar = (x: number) => np.array(Float32Array.of(x)).reshape([]);
  return async (n) => {
    const rate = scalar(learningRate / (1 - beta1 ** n));
    let loss: JaxArray;
    [loss, p, m, v] = step(p, m, v, rate, scalar(1 / Math.sqrt(1 - beta2 ** n)), ids.ref, targets.ref);
    const [value] = await loss.data();
    await blockUntilReady([p, m, v]);
    return value;
  };
}

/** (weights, moments, learning rate and second moment's correction, batch) to (loss, weights, moments). */
function stepOf(data: StepData) {
  const { learningRate, beta1, beta2, eps, weightDecay, clip } = training;
  const lossAndGradient = valueAndGrad(lossOf(data));
  return (p: Tree, m: Tree, v: Tree, rate: JaxArray, correction: JaxArray, ids: JaxArray, targets: JaxArray) => {
    const [loss, g] = lossAndGradient(tree.ref(p), ids, targets);
    const names = Object.keys(p);
    const norm = np.sqrt(names.map((k) => np.square(g[k].ref).sum()).reduce((a, b) => a.add(b)));
    const scale = np.minimum(1, np.reciprocal(norm.add(1e-6)).mul(clip));
    const [P, M, V]: Tree[] = [{}, {}, {}];
    for (const k of names) {
      const gradient = g[k].mul(scale.ref);
      M[k] = m[k].mul(beta1).add(gradient.ref.mul(1 - beta1));
      V[k] = v[k].mul(beta2).add(np.square(gradient).mul(1 - beta2));
      const update = M[k].ref.mul(rate.ref).div(np.sqrt(V[k].ref).mul(correction.ref).add(eps));
      P[k] = p[k].mul(1 - learningRate * weightDecay).sub(update);
    }
    for (const x of [scale, rate, correction]) x.dispose();
    return [loss, P, M, V] as [JaxArray, Tree, Tree, Tree];
  };
}

export const rmsNorm = (x: JaxArray, w: JaxArray) =>
  x.ref.div(np.sqrt(np.mean(np.square(x), -1, { keepdims: true }).add(1e-6))).mul(w);

function lossOf({ hidden, layers, heads, kvHeads, headDim, batch, length, vocab, ...tables }: StepData) {
  const rows = batch * length;
  const [cos, sin] = [tables.cos, tables.sin].map((x) => np.array(x).reshape([length, 1, headDim]));
  const rope = (x: JaxArray) => {
    const [a, b] = np.split(x.ref, 2, -1);
    return x.mul(cos.ref).add(np.concatenate([b.neg(), a], -1).mul(sin.ref));
  };
  const split = (x: JaxArray, n: number) => x.reshape([batch, length, n, headDim]);
  return (p: Tree, ids: JaxArray, targets: JaxArray) => {
    const embedding = p["model.embed_tokens.weight"];
    let x = np.take(embedding.ref, ids, 0); // [B · T, hidden]
    for (let l = 0; l < layers; l++) {
      const w = (name: string) => p[`model.layers.${l}.${name}.weight`];
      let h = rmsNorm(x.ref, w("input_layernorm"));
      const q = rope(rmsNorm(split(np.matmul(h.ref, w("self_attn.q_proj")), heads), w("self_attn.q_norm")));
      const k = rope(rmsNorm(split(np.matmul(h.ref, w("self_attn.k_proj")), kvHeads), w("self_attn.k_norm")));
      const v = split(np.matmul(h, w("self_attn.v_proj")), kvHeads);
      const y = nn.dotProductAttention(q, k, v, { isCausal: true }).reshape([rows, hidden]);
      x = x.add(np.matmul(y, w("self_attn.o_proj")));
      h = rmsNorm(x.ref, w("post_attention_layernorm"));
      const gate = nn.silu(np.matmul(h.ref, w("mlp.gate_proj")));
      x = x.add(np.matmul(gate.mul(np.matmul(h, w("mlp.up_proj"))), w("mlp.down_proj")));
    }
    const logits = np.matmul(rmsNorm(x, p["model.norm.weight"]), embedding.transpose());
    // Not nn.oneHot: it is a row of eye(vocab) each, which is larger than WebGPU binds. This comparison is fused.
    const isTarget = targets.reshape([rows, 1]).equal(np.arange(vocab).reshape([1, vocab]));
    return np
      .where(isTarget, nn.logSoftmax(logits, -1), 0)
      .sum()
      .mul(-1 / rows);
  };
}

function attention(data: Record<"q" | "k" | "v" | "dy", Float32Array>): ReturnType<Peer["attention"]> {
  const { length, heads, headDim } = attentionSize;
  const [q, k, v, dy] = [data.q, data.k, data.v, data.dy].map((x) => np.array(x).reshape([length, heads, headDim]));
  const lossAndGradient = jit(
    valueAndGrad((inputs: Tree, g: JaxArray) =>
      nn.dotProductAttention(inputs.q, inputs.k, inputs.v, { isCausal: true }).mul(g).sum(),
    ),
  );
  return async (read) => {
    const [loss, gradients] = lossAndGradient(tree.ref({ q, k, v }), dy.ref);
    const [value] = await loss.data();
    await blockUntilReady(gradients);
    const all = [gradients.q, gradients.k, gradients.v];
    if (read) return { value, gradients: await Promise.all(all.map((x) => x.data())) };
    for (const x of all) x.dispose();
    return { value, gradients: [] };
  };
}
