import * as tf from "@tensorflow/tfjs";
import type { StepData } from "./data.ts";
import type { Decoder } from "./peer.ts";
import { rmsNorm } from "./tfjs.ts";

/** Generation in TensorFlow.js: the cache grows by concatenation, as its users write it; tokens are read at the end. */
export function decoder(data: StepData, streams: number): Decoder {
  const w = Object.fromEntries(data.parameters.map((p) => [p.name, tf.tensor(p.data, p.shape)]));
  const step = stepOf(data, streams, w);
  return async (first, count) => {
    const cache = Array.from({ length: data.layers }, (): Cache => ({ k: undefined, v: undefined }));
    const tokens = [tf.tensor(new Int32Array(streams).fill(first), [streams], "int32")];
    for (let n = 0; n < count; n++) tokens.push(tf.tidy(() => step(tokens[n], n, cache)));
    const ids = await Promise.all(tokens.map((x) => x.data()));
    tf.dispose([cache, tokens]);
    return ids.slice(1).map((step) => [...step]);
  };
}

/** Of one layer, [streams · kvHeads, T, headDim]. */
interface Cache {
  k: tf.Tensor | undefined;
  v: tf.Tensor | undefined;
}

function stepOf(data: StepData, streams: number, w: Record<string, tf.Tensor>) {
  const { hidden, layers, headDim, length } = data;
  const [heads, kvHeads] = [streams * data.heads, streams * data.kvHeads];
  const [cos, sin] = [data.cos, data.sin].map((x) => tf.tensor(x, [length, headDim]));
  const grow = (old: tf.Tensor | undefined, x: tf.Tensor) => {
    const all = tf.keep(old ? tf.concat([old, x], 1) : x);
    old?.dispose();
    return all;
  };
  return (token: tf.Tensor, at: number, cache: Cache[]): tf.Tensor => {
    const [c, s] = [cos, sin].map((table) => tf.slice(table, [at, 0], [1, headDim]));
    const rope = (x: tf.Tensor) => {
      const [a, b] = tf.split(x, 2, -1);
      return x.mul(c).add(tf.concat([b.neg(), a], -1).mul(s));
    };
    const embedding = w["model.embed_tokens.weight"];
    let x = tf.gather(embedding, token);
    for (let l = 0; l < layers; l++) {
      const p = (name: string) => w[`model.layers.${l}.${name}.weight`];
      let h = rmsNorm(x, p("input_layernorm"));
      const q = rope(rmsNorm(tf.matMul(h, p("self_attn.q_proj")).reshape([heads, 1, headDim]), p("self_attn.q_norm")));
      const k = rope(
        rmsNorm(tf.matMul(h, p("self_attn.k_proj")).reshape([kvHeads, 1, headDim]), p("self_attn.k_norm")),
      );
      const v = tf.matMul(h, p("self_attn.v_proj")).reshape([kvHeads, 1, headDim]);
      const own = cache[l];
      [own.k, own.v] = [grow(own.k, k), grow(own.v, v)];
      const grouped = q.reshape([kvHeads, heads / kvHeads, headDim]);
      const y = tf.matMul(tf.softmax(tf.matMul(grouped, own.k, false, true).mul(headDim ** -0.5)), own.v);
      x = x.add(tf.matMul(y.reshape([streams, hidden]), p("self_attn.o_proj")));
      h = rmsNorm(x, p("post_attention_layernorm"));
      const gate = tf.matMul(h, p("mlp.gate_proj"));
      x = x.add(tf.matMul(gate.mul(gate.sigmoid()).mul(tf.matMul(h, p("mlp.up_proj"))), p("mlp.down_proj")));
    }
    return tf.argMax(tf.matMul(rmsNorm(x, w["model.norm.weight"]), embedding, false, true), -1);
  };
}
