import { type Array as JaxArray, jit, nn, numpy as np, type Tree, tree } from "@jax-js/jax";
import type { StepData } from "./data.ts";
import { rmsNorm } from "./jax.ts";
import type { Decoder } from "./peer.ts";

/**
 * Generation in jax-js: a token is one jit, over caches of a fixed capacity, written by comparison with the position. The token stays on the
 * device and goes into the next call; all are read at the end.
 */
export function decoder(data: StepData, streams: number): Decoder {
  const { layers, kvHeads, headDim, length: capacity } = data;
  const p: Tree = Object.fromEntries(data.parameters.map((x) => [x.name, np.array(x.data).reshape(x.shape)]));
  const step = jit(stepOf(data, streams));
  const integers = (x: number, count: number) => np.array(new Int32Array(count).fill(x), { dtype: np.int32 });
  return async (first, count) => {
    const names = Array.from({ length: layers }, (_, l) => [`k${l}`, `v${l}`]).flat();
    let cache: Tree = Object.fromEntries(names.map((name) => [name, np.zeros([streams, capacity, kvHeads, headDim])]));
    let token = integers(first, streams);
    const tokens: JaxArray[] = [];
    for (let n = 0; n < count; n++) {
      [token, cache] = step(tree.ref(p), cache, token, integers(n, 1));
      tokens.push(token.ref);
    }
    token.dispose();
    for (const x of Object.values(cache)) x.dispose();
    return (await Promise.all(tokens.map((x) => x.data()))).map((step) => [...step]);
  };
}

/** (weights, cache, token [streams], its position [1]) to (the next token, cache). */
function stepOf(data: StepData, streams: number) {
  const { hidden, layers, heads, kvHeads, headDim, length: capacity, ...tables } = data;
  const [cos, sin] = [tables.cos, tables.sin].map((x) => np.array(x).reshape([capacity, headDim]));
  return (p: Tree, cache: Tree, token: JaxArray, at: JaxArray): [JaxArray, Tree] => {
    const turn = [cos, sin].map((x) => np.take(x.ref, at.ref, 0).reshape([1, 1, 1, headDim]));
    const rope = (x: JaxArray) => {
      const [a, b] = np.split(x.ref, 2, -1);
      return x.mul(turn[0].ref).add(np.concatenate([b.neg(), a], -1).mul(turn[1].ref));
    };
    const places = np.arange(capacity);
    const here = places.ref.equal(at.ref).reshape([1, capacity, 1, 1]);
    const mask = places.lessEqual(at).reshape([1, 1, 1, capacity]);
    const next: Tree = {};
    const embedding = p["model.embed_tokens.weight"];
    let x = np.take(embedding.ref, token, 0); // [streams, hidden]
    for (let l = 0; l < layers; l++) {
      const w = (name: string) => p[`model.layers.${l}.${name}.weight`];
      const split = (y: JaxArray, n: number) => y.reshape([streams, 1, n, headDim]);
      let h = rmsNorm(x.ref, w("input_layernorm"));
      const q = rope(rmsNorm(split(np.matmul(h.ref, w("self_attn.q_proj")), heads), w("self_attn.q_norm")));
      const k = rope(rmsNorm(split(np.matmul(h.ref, w("self_attn.k_proj")), kvHeads), w("self_attn.k_norm")));
      const v = split(np.matmul(h, w("self_attn.v_proj")), kvHeads);
      next[`k${l}`] = np.where(here.ref, k, cache[`k${l}`]);
      next[`v${l}`] = np.where(here.ref, v, cache[`v${l}`]);
      const y = nn.dotProductAttention(q, next[`k${l}`].ref, next[`v${l}`].ref, { mask: mask.ref });
      x = x.add(np.matmul(y.reshape([streams, hidden]), w("self_attn.o_proj")));
      h = rmsNorm(x.ref, w("post_attention_layernorm"));
      const gate = nn.silu(np.matmul(h.ref, w("mlp.gate_proj")));
      x = x.add(np.matmul(gate.mul(np.matmul(h, w("mlp.up_proj"))), w("mlp.down_proj")));
    }
    for (const used of [...turn, here, mask]) used.dispose();
    const logits = np.matmul(rmsNorm(x, p["model.norm.weight"]), embedding.transpose());
    return [np.argmax(logits, -1), next];
  };
}
