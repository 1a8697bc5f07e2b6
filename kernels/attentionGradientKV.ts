import { kernel } from "../framework/device/kernel.ts";
import {
  type AttentionShape,
  type AttentionTuning,
  attentionBytes,
  attentionFlops,
  attentionTuning,
  attentionUniformTypes,
  boundAs,
  gradientKVUses,
  pickAttention,
  validAttention,
} from "./shared/attention.ts";
import { gradientKVBroadcast, gradientKVTiles } from "./shared/attentionBackward.ts";
import { gradientKVMatrix } from "./shared/attentionMatrixKernels.ts";

/**
 * dk and dv of {@link attention}, summed over the query heads of each group in a fixed order. They lie as k and v do.
 * See {@link attentionGradientQ}.
 */
export const attentionGradientKV = kernel<AttentionShape, AttentionTuning>({
  name: "attentionGradientKV",
  bindings: ({ segments }) => ({
    q: "read",
    k: "read",
    v: "read",
    dO: "read",
    stats: "read",
    dk: "write",
    dv: "write",
    ...(segments ? { spans: "read" as const } : {}),
  }),
  types: ({ dtype }, { variant }) => {
    const vector = boundAs(dtype, variant);
    return { q: vector, k: vector, v: vector, dO: vector, dk: vector, dv: vector, stats: "vec2f", spans: "vec2u" };
  },
  uniforms: attentionUniformTypes,
  sizes: ["queries", "keys", "heads", "batch"],
  manyRegisters: true,
  tuning: attentionTuning([16, 32, 8]),
  valid: validAttention(gradientKVUses),
  pick: (shape, target) => pickAttention(gradientKVUses)({ ...shape, few: 0 }, target),
  workgroups: ({ group }, { rows }, { keys, heads, batch }) => [Math.ceil(keys / rows), heads / group, batch],
  cost: (shape, uniforms) => ({
    flops: attentionFlops(4)(shape, uniforms),
    bytes: attentionBytes(2, 4)(shape, uniforms),
  }),
  wgsl: (shape, tuning) => [gradientKVBroadcast, gradientKVTiles, gradientKVMatrix][tuning.variant](shape, tuning),
});
