import { kernel } from "../framework/device/kernel.ts";
import {
  type AttentionShape,
  type AttentionTuning,
  attentionBytes,
  attentionFlops,
  attentionTuning,
  attentionUniformTypes,
  boundAs,
  forwardUses,
  pickAttention,
  validAttention,
} from "./shared/attention.ts";
import { forwardBroadcast, forwardTiles } from "./shared/attentionForward.ts";

import { forwardMatrix } from "./shared/attentionMatrixKernels.ts";

export {
  type AttentionCall,
  type AttentionShape,
  type AttentionStrides,
  type AttentionTuning,
  attentionLaunch,
} from "./shared/attention.ts";

/**
 * o = softmax(scale · q kᵀ) v without the scores in memory, and the rows' logarithmic sums lse [batch, heads, queries], which
 * the gradients need. A query that sees no key gives o = 0, lse = -Infinity. Blocks of keys that no query of a tile sees are
 * skipped. `spans` [batch, queries, 2] comes from `attentionSpans`. Launch it with what `attentionLaunch` gives.
 * Dao et al. 2022, arXiv:2205.14135; Dao 2023, arXiv:2307.08691; grouped queries: Ainslie et al. 2023, arXiv:2305.13245
 */
export const attention = kernel<AttentionShape, AttentionTuning>({
  name: "attention",
  bindings: ({ segments }) => ({
    q: "read",
    k: "read",
    v: "read",
    o: "write",
    lse: "write",
    ...(segments ? { spans: "read" as const } : {}),
  }),
  types: ({ dtype }, { variant }) => {
    const vector = boundAs(dtype, variant);
    return { q: vector, k: vector, v: vector, o: vector, spans: "vec2u" };
  },
  uniforms: attentionUniformTypes,
  sizes: ["queries", "keys", "heads", "batch"],
  manyRegisters: true,
  tuning: attentionTuning([16, 32, 8, 4, 2, 1]),
  valid: validAttention(forwardUses),
  pick: pickAttention(forwardUses),
  workgroups: ({ group }, { rows }, { queries, heads, batch }) => [
    Math.ceil((queries * group) / rows),
    heads / group,
    batch,
  ],
  cost: (shape, uniforms) => ({
    flops: attentionFlops(2)(shape, uniforms),
    bytes: attentionBytes(2, 2)(shape, uniforms),
  }),
  wgsl: (shape, tuning) => [forwardBroadcast, forwardTiles, forwardMatrix][tuning.variant](shape, tuning),
});
