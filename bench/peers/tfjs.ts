import * as tf from "@tensorflow/tfjs";
import { type AttentionData, attentionSize, type StepData } from "./data.ts";
import { type Peer, training } from "./peer.ts";
import { decoder } from "./tfjsDecode.ts";

/** TensorFlow.js: eager ops, tf.variableGrads, AdamW written with its ops (it has none). */
export async function tfjs(backend: "webgpu" | "wasm"): Promise<Peer> {
  if (backend === "webgpu") await import("@tensorflow/tfjs-backend-webgpu");
  else {
    const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
    setWasmPaths(`${import.meta.dirname}/node_modules/@tensorflow/tfjs-backend-wasm/dist/`);
  }
  if (!(await tf.setBackend(backend))) throw new Error(`TensorFlow.js has no ${backend} here`);
  await tf.ready();
  // The gradient of gather needs the kernel UnsortedSegmentSum, which the wasm back end lacks.
  const byGather = backend === "webgpu";
  return {
    note: byGather ? undefined : "embedding by one-hot",
    trainer: (data) => trainer(data, byGather),
    attention,
    decoder,
  };
}

function trainer(data: StepData, byGather: boolean): (n: number) => Promise<number> {
  const { learningRate, beta1, beta2, eps, weightDecay, clip } = training;
  const all = (make: (p: StepData["parameters"][number]) => tf.Variable) =>
    Object.fromEntries(data.parameters.map((p) => [p.name, make(p)]));
  const w = all(({ name, shape, data: values }) => tf.variable(tf.tensor(values, shape), true, name));
  const [m, v] = [0, 1].map(() => all(({ shape }) => tf.variable(tf.zeros(shape), false)));
  const loss = lossOf(data, w, byGather);
  return async (n) => {
    const rate = learningRate / (1 - beta1 ** n);
    const correction = 1 / Math.sqrt(1 - beta2 ** n);
    const mean = tf.tidy(() => {
      const { value, grads } = tf.variableGrads(loss);
      const names = Object.keys(grads);
      // Not tf.addN: on WebGPU it binds all inputs to one kernel, and there are more than it may bind.
      const norm = names
        .map((k) => grads[k].square().sum())
        .reduce((a, b) => a.add(b))
        .sqrt();
      const scale = tf.minimum(1, tf.div(clip, norm.add(1e-6)));
      for (const k of names) {
        const g = grads[k].mul(scale);
        m[k].assign(m[k].mul(beta1).add(g.mul(1 - beta1)));
        v[k].assign(v[k].mul(beta2).add(g.square().mul(1 - beta2)));
        const update = m[k].mul(rate).div(v[k].sqrt().mul(correction).add(eps));
        w[k].assign(w[k].mul(1 - learningRate * weightDecay).sub(update));
      }
      return value;
    });
    const [value] = await mean.data();
    mean.dispose();
    await w["model.norm.weight"].data(); // the last one written: the update is done too
    return value;
  };
}

export const rmsNorm = (x: tf.Tensor, g: tf.Tensor) => x.mul(x.square().mean(-1, true).add(1e-6).rsqrt()).mul(g);

function lossOf(data: StepData, w: Record<string, tf.Variable>, byGather: boolean): () => tf.Tensor {
  const { hidden, layers, heads, kvHeads, headDim, batch, length, vocab } = data;
  const rows = batch * length;
  const [cos, sin] = [data.cos, data.sin].map((x) => tf.tensor(x, [length, headDim]));
  const [ids, targets] = [data.ids, data.targets].map((x) => tf.tensor(x, [rows], "int32"));
  const mask = causalMask(length);
  const rope = (x: tf.Tensor) => {
    const [a, b] = tf.split(x, 2, -1);
    return x.mul(cos).add(tf.concat([b.neg(), a], -1).mul(sin));
  };
  const split = (x: tf.Tensor, n: number) => x.reshape([batch, length, n, headDim]).transpose([0, 2, 1, 3]);
  const repeat = (x: tf.Tensor) =>
    x
      .reshape([batch * kvHeads, 1, length * headDim])
      .tile([1, heads / kvHeads, 1])
      .reshape([batch, heads, length, headDim]);
  return () => {
    const embedding = w["model.embed_tokens.weight"];
    let x = byGather ? tf.gather(embedding, ids) : tf.matMul(tf.oneHot(ids, vocab).toFloat(), embedding);
    for (let l = 0; l < layers; l++) {
      const p = (name: string) => w[`model.layers.${l}.${name}.weight`];
      let h = rmsNorm(x, p("input_layernorm"));
      const q = rope(rmsNorm(split(tf.matMul(h, p("self_attn.q_proj")), heads), p("self_attn.q_norm")));
      const k = repeat(rope(rmsNorm(split(tf.matMul(h, p("self_attn.k_proj")), kvHeads), p("self_attn.k_norm"))));
      const v = repeat(split(tf.matMul(h, p("self_attn.v_proj")), kvHeads));
      const y = attend(q, k, v, headDim, mask).transpose([0, 2, 1, 3]).reshape([rows, hidden]);
      x = x.add(tf.matMul(y, p("self_attn.o_proj")));
      h = rmsNorm(x, p("post_attention_layernorm"));
      const gate = tf.matMul(h, p("mlp.gate_proj"));
      const up = tf.matMul(h, p("mlp.up_proj"));
      x = x.add(tf.matMul(gate.mul(gate.sigmoid()).mul(up), p("mlp.down_proj")));
    }
    const logits = tf.matMul(rmsNorm(x, w["model.norm.weight"]), embedding, false, true);
    return tf.losses.softmaxCrossEntropy(tf.oneHot(targets, vocab), logits);
  };
}

/** Attention as a composition, as its users write it: there is no fused one. [..., T, D] */
const attend = (q: tf.Tensor, k: tf.Tensor, v: tf.Tensor, headDim: number, mask: tf.Tensor): tf.Tensor =>
  tf.matMul(
    tf.softmax(
      tf
        .matMul(q, k, false, true)
        .mul(headDim ** -0.5)
        .add(mask),
    ),
    v,
  );

function causalMask(length: number): tf.Tensor {
  const values = Float32Array.from({ length: length * length }, (_, i) =>
    i % length > Math.floor(i / length) ? -1e30 : 0,
  );
  return tf.tensor(values, [length, length]);
}

function attention(data: AttentionData): ReturnType<Peer["attention"]> {
  const { length, heads, headDim } = attentionSize;
  const [q, k, v, dy] = [data.q, data.k, data.v, data.dy].map((x) =>
    tf.tensor(x, [length, heads, headDim]).transpose([1, 0, 2]),
  );
  const mask = causalMask(length);
  const lossAndGradients = tf.valueAndGrads((...[a, b, c]) => attend(a, b, c, headDim, mask).mul(dy).sum());
  return async (read) => {
    const { value: loss, grads } = lossAndGradients([q, k, v]);
    const [value] = await loss.data();
    const gradients = read ? await Promise.all(grads.map((g) => g.transpose([1, 0, 2]).data())) : [];
    for (const x of [loss, ...grads]) x.dispose();
    return { value, gradients };
  };
}
