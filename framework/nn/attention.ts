import { type AttentionOptions, scaledDotProductAttention } from "../ops/attention.ts";
import { rope } from "../ops/rope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Linear, RMSNorm } from "./layers.ts";
import { Module } from "./module.ts";

/** Keys and values of earlier tokens: takes those of the new ones, and gives all. */
export interface AttentionCache {
  readonly length: number;
  append(layer: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor };
}

/** Where the tokens of a batch stand. */
export interface Placement {
  /** cos and sin by position, [positions, head_dim / 2, 2]; without it positions are not encoded. */
  table?: Tensor;
  /** i32 [B, T]; else token t stands at cache.length + t. */
  positions?: Tensor;
  /** i32 [B, T]: packed documents; attention stays inside each. */
  segments?: AttentionOptions["segments"];
  /** What `documentSpans` makes of the segments, for all layers at once. */
  spans?: Tensor;
  cache?: AttentionCache;
}

export interface AttentionSizes {
  hidden: number;
  heads: number;
  /** Key and value heads, each for a group of query heads; as many as heads where silent. */
  kvHeads?: number;
  /** hidden / heads where silent. */
  headDim?: number;
  /** Normalises queries and keys by head, as Qwen3 does; its epsilon. */
  normEps?: number;
  /** Sees all tokens rather than earlier ones only. */
  bidirectional?: boolean;
  /** Which of a cache's layers is this one's. */
  layer?: number;
  /** Deviation of the initial weights, and of those that write to the residual stream. */
  std?: number;
  outputStd?: number;
}

/** Grouped-query self-attention with rotary positions, under Hugging Face's names. Vaswani et al. 2017, arXiv:1706.03762; Ainslie et al. 2023, arXiv:2305.13245 */
export class Attention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly q_norm: RMSNorm | undefined;
  readonly k_norm: RMSNorm | undefined;
  private readonly sizes: Required<Pick<AttentionSizes, "heads" | "kvHeads" | "headDim" | "bidirectional" | "layer">>;

  constructor({
    hidden,
    heads,
    kvHeads = heads,
    headDim = hidden / heads,
    normEps,
    bidirectional = false,
    layer = 0,
    std,
    outputStd = std,
  }: AttentionSizes) {
    super();
    this.sizes = { heads, kvHeads, headDim, bidirectional, layer };
    this.q_proj = new Linear(hidden, heads * headDim, { bias: false, std });
    this.k_proj = new Linear(hidden, kvHeads * headDim, { bias: false, std });
    this.v_proj = new Linear(hidden, kvHeads * headDim, { bias: false, std });
    this.o_proj = new Linear(heads * headDim, hidden, { bias: false, std: outputStd });
    this.q_norm = normEps === undefined ? undefined : new RMSNorm(headDim, normEps);
    this.k_norm = normEps === undefined ? undefined : new RMSNorm(headDim, normEps);
  }

  /** x [B, T, hidden] to [B, T, hidden]. */
  forward(x: Tensor, { table, positions, segments, spans, cache }: Placement = {}): Tensor {
    const [batch, length] = x.shape;
    const { heads, kvHeads, headDim, bidirectional, layer } = this.sizes;
    const at = { positions, offset: cache?.length ?? 0 };
    const placed = (h: Tensor, count: number, norm: RMSNorm | undefined) => {
      const split = h.reshape(batch, length, count, headDim); // [B, T, H, D]
      const normed = norm ? norm.forward(split) : split;
      return table ? rope(normed, table, at) : normed;
    };
    const q = placed(this.q_proj.forward(x), heads, this.q_norm);
    const k = placed(this.k_proj.forward(x), kvHeads, this.k_norm);
    const v = this.v_proj.forward(x).reshape(batch, length, kvHeads, headDim);
    const all = cache ? cache.append(layer, k, v) : { k, v };
    const keys = cache ? cache.length + length : length;
    const y = scaledDotProductAttention(q, all.k, all.v, {
      causal: !bidirectional,
      segments,
      spans,
      layout: "BTHD",
      keys,
    });
    return this.o_proj.forward(y.reshape(batch, length, heads * headDim));
  }
}
