import { kernel } from "../framework/device/kernel.ts";
import {
  type AttentionShape,
  type AttentionTuning,
  attentionBytes,
  attentionFlops,
  attentionTuning,
  attentionUniformTypes,
  boundAs,
  gradientQUses,
  pickAttention,
  validAttention,
} from "./shared/attention.ts";
import { gradientQBroadcast, gradientQTiles } from "./shared/attentionBackward.ts";
import { gradientQMatrix } from "./shared/attentionMatrixKernels.ts";

/**
 * dq of {@link attention}, from dO (which lies as q does) and the `stats` of `attentionDelta`. Scores are computed again,
 * block by block. Dao et al. 2022, arXiv:2205.14135, algorithm 4; one kernel for dq and one for dk and dv, so that no sum is shared.
 */
export const attentionGradientQ = kernel<AttentionShape, AttentionTuning>({
  name: "attentionGradientQ",
  bindings: ({ segments }) => ({
    q: "read",
    k: "read",
    v: "read",
    dO: "read",
    stats: "read",
    dq: "write",
    ...(segments ? { spans: "read" as const } : {}),
  }),
  types: ({ dtype }, { variant }) => {
    const vector = boundAs(dtype, variant);
    return { q: vector, k: vector, v: vector, dO: vector, dq: vector, stats: "vec2f", spans: "vec2u" };
  },
  uniforms: attentionUniformTypes,
  sizes: ["queries", "keys", "heads", "batch"],
  manyRegisters: true,
  tuning: attentionTuning([16, 32, 8]),
  valid: validAttention(gradientQUses),
  pick: (shape, target) => pickAttention(gradientQUses)({ ...shape, few: 0 }, target),
  workgroups: ({ group }, { rows }, { queries, heads, batch }) => [
    Math.ceil((queries * group) / rows),
    heads / group,
    batch,
  ],
  cost: (shape, uniforms) => ({
    flops: attentionFlops(3)(shape, uniforms),
    bytes: attentionBytes(3, 2)(shape, uniforms),
  }),
  wgsl: (shape, tuning) => [gradientQBroadcast, gradientQTiles, gradientQMatrix][tuning.variant](shape, tuning),
});
