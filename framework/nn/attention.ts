import { type AttentionOptions, documentSpans, scaledDotProductAttention } from "../ops/attention.ts";
import { decodeHeads } from "../ops/decode.ts";
import type { DecodingLayer } from "../ops/decodeLayer.ts";
import { rope } from "../ops/rope.ts";
import { fusesHeads, type HeadsPlace, selfAttention, splitHeads } from "../ops/selfAttention.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Linear, packedForward, RMSNorm } from "./layers.ts";
import { adjoin, Module } from "./module.ts";

/** Keys and values of earlier tokens. */
export interface AttentionCache {
  /** Tokens that all rows hold. */
  readonly length: number;
  /** i32 [B, 1]: where each row's new token stands, where rows hold different counts. */
  readonly positions: Tensor | undefined;
  /** A layer's buffers, and where in them keys and values of `count` new tokens go. */
  place(layer: number, count: number): HeadsPlace;
  /** A layer's buffers for `count` new tokens, while each row takes a token at a time at its own length. */
  decoding(layer: number, count: number): DecodingLayer | undefined;
  /** Puts k and v [B, T, Hkv, D] of new tokens there. */
  append(layer: number, k: Tensor, v: Tensor): void;
  /** Queries [B, T, H, D] of the newest tokens over all that they may see: [B, T, H, D]. */
  attend(layer: number, q: Tensor): Tensor;
}

/** Where the tokens of a batch stand. */
export interface Placement {
  /** cos and sin by position, [positions, head_dim / 2, 2]; without it positions are not encoded. */
  table?: Tensor;
  /** i32 [B, T]; else token t stands where the cache says, or at t. */
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
  /** Queries, keys and values have biases, as Qwen2's do. */
  bias?: boolean;
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
    bias = false,
    bidirectional = false,
    layer = 0,
    std,
    outputStd = std,
  }: AttentionSizes) {
    super();
    this.sizes = { heads, kvHeads, headDim, bidirectional, layer };
    this.q_proj = new Linear(hidden, heads * headDim, { bias, std });
    this.k_proj = new Linear(hidden, kvHeads * headDim, { bias, std });
    this.v_proj = new Linear(hidden, kvHeads * headDim, { bias, std });
    this.o_proj = new Linear(heads * headDim, hidden, { bias: false, std: outputStd });
    this.q_norm = normEps === undefined ? undefined : new RMSNorm(headDim, normEps);
    this.k_norm = normEps === undefined ? undefined : new RMSNorm(headDim, normEps);
    adjoin([this.q_proj.weight, this.k_proj.weight, this.v_proj.weight]);
  }

  /** Which of a cache's layers is its own. */
  get layer(): number {
    return this.sizes.layer;
  }

  /** x [B, T, hidden] to [B, T, hidden]; x is normalised first if `norm` is given, and `residual`, of x's shape, added to what comes out. */
  forward(x: Tensor, placement: Placement = {}, residual?: Tensor, norm?: RMSNorm): Tensor {
    const qkv = packedForward(x, [this.q_proj, this.k_proj, this.v_proj], norm);
    const y = fusesHeads(this.sizes.headDim) ? this.fused(qkv, placement) : this.stepwise(qkv, placement);
    return this.o_proj.forward(y, residual);
  }

  /** Norms, rotation and the split into heads in one launch. */
  private fused(qkv: Tensor, { table, positions, segments, spans, cache }: Placement): Tensor {
    const { heads, kvHeads, headDim, bidirectional, layer } = this.sizes;
    const { weight: qNorm, eps } = this.q_norm ?? {};
    const options = { heads, kvHeads, qNorm, kNorm: this.k_norm?.weight, eps, table, positions };
    if (!cache)
      return selfAttention(qkv, {
        ...options,
        causal: !bidirectional,
        spans: spans ?? (segments && documentSpans(segments)),
      });
    const own = positions ? undefined : cache.decoding(layer, qkv.shape[1]);
    const y = own && decodeHeads(qkv, options, own);
    if (y) return y;
    const at = { positions: positions ?? cache.positions, offset: cache.length };
    const { q } = splitHeads(qkv, { ...options, ...at }, cache.place(layer, qkv.shape[1]));
    return cache.attend(layer, q).reshape(qkv.shape[0], qkv.shape[1], heads * headDim);
  }

  /** The same in ops, for heads of any size: what the fused kernels must equal. */
  private stepwise(qkv: Tensor, { table, positions, segments, spans, cache }: Placement): Tensor {
    const [batch, length] = qkv.shape;
    const { heads, kvHeads, headDim, bidirectional, layer } = this.sizes;
    const at = { positions: positions ?? cache?.positions, offset: cache?.length ?? 0 };
    const [q, k, v] = qkv
      .split([heads * headDim, kvHeads * headDim, kvHeads * headDim], -1)
      .map((h, i) => h.reshape(batch, length, i ? kvHeads : heads, headDim)); // [B, T, H, D]
    const placed = (h: Tensor, norm: RMSNorm | undefined) => {
      const normed = norm ? norm.forward(h) : h;
      return table ? rope(normed, table, at) : normed;
    };
    const [turned, key] = [placed(q, this.q_norm), placed(k, this.k_norm)];
    cache?.append(layer, key, v);
    const y = cache
      ? cache.attend(layer, turned)
      : scaledDotProductAttention(turned, key, v, { causal: !bidirectional, segments, spans, layout: "BTHD" });
    return y.reshape(batch, length, heads * headDim);
  }
}
