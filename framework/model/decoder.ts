import { checkpoint } from "../autograd/checkpoint.ts";
import { isRecording } from "../autograd/graph.ts";
import { Embedding, Linear, Module, RMSNorm, SwiGLU } from "../nn/index.ts";
import { scaledDotProductAttention } from "../ops/attention.ts";
import { rope } from "../ops/rope.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { KVCache } from "./cache.ts";
import type { ModelConfig } from "./config.ts";

/** Where the tokens of a batch stand. */
export interface Placement {
  /** cos and sin by position. */
  table: Tensor;
  /** i32 [B, T]; else token t stands at cache.length + t. */
  positions?: Tensor;
  /** i32 [B, T]: packed documents; attention stays inside each. */
  segments?: Tensor;
  /** What `documentSpans` makes of the segments, for all layers at once. */
  spans?: Tensor;
  cache?: KVCache;
}

/** Grouped-query attention with rotary positions, queries and keys normalised by head in the Qwen3 shape. Ainslie et al. 2023, arXiv:2305.13245 */
export class Attention extends Module {
  readonly q_proj: Linear;
  readonly k_proj: Linear;
  readonly v_proj: Linear;
  readonly o_proj: Linear;
  readonly q_norm: RMSNorm | undefined;
  readonly k_norm: RMSNorm | undefined;

  constructor(
    private readonly config: ModelConfig,
    private readonly layer: number,
  ) {
    super();
    const {
      hidden_size: hidden,
      num_attention_heads: heads,
      num_key_value_heads: kvHeads,
      head_dim: dim,
      initializer_range: std,
    } = config;
    this.q_proj = new Linear(hidden, heads * dim, { bias: false, std });
    this.k_proj = new Linear(hidden, kvHeads * dim, { bias: false, std });
    this.v_proj = new Linear(hidden, kvHeads * dim, { bias: false, std });
    this.o_proj = new Linear(heads * dim, hidden, { bias: false, std: outputStd(config) });
    const normed = config.model_type === "qwen3";
    this.q_norm = normed ? new RMSNorm(dim, config.rms_norm_eps) : undefined;
    this.k_norm = normed ? new RMSNorm(dim, config.rms_norm_eps) : undefined;
  }

  /** x [B, T, hidden] to [B, T, hidden]. */
  forward(x: Tensor, { table, positions, segments, spans, cache }: Placement): Tensor {
    const [batch, length] = x.shape;
    const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: dim } = this.config;
    const at = { positions, offset: cache?.length ?? 0 };
    const normed = (h: Tensor, norm: RMSNorm | undefined) => (norm ? norm.forward(h) : h);
    const q = rope(normed(this.q_proj.forward(x).reshape(batch, length, heads, dim), this.q_norm), table, at); // [B, T, H, D]
    const k = rope(normed(this.k_proj.forward(x).reshape(batch, length, kvHeads, dim), this.k_norm), table, at);
    const v = this.v_proj.forward(x).reshape(batch, length, kvHeads, dim);
    const all = cache ? cache.append(this.layer, k, v) : { k, v };
    const keys = cache ? cache.length + length : length;
    const y = scaledDotProductAttention(q, all.k, all.v, { causal: true, segments, spans, layout: "BTHD", keys });
    return this.o_proj.forward(y.reshape(batch, length, heads * dim));
  }
}

/** One layer: x + attention(norm(x)), then + mlp(norm(x)). */
export class DecoderLayer extends Module {
  readonly self_attn: Attention;
  readonly mlp: SwiGLU;
  readonly input_layernorm: RMSNorm;
  readonly post_attention_layernorm: RMSNorm;

  constructor(config: ModelConfig, layer: number) {
    super();
    this.self_attn = new Attention(config, layer);
    this.mlp = new SwiGLU(config.hidden_size, config.intermediate_size, {
      std: config.initializer_range,
      downStd: outputStd(config),
    });
    this.input_layernorm = new RMSNorm(config.hidden_size, config.rms_norm_eps);
    this.post_attention_layernorm = new RMSNorm(config.hidden_size, config.rms_norm_eps);
  }

  forward(x: Tensor, placement: Placement): Tensor {
    const h = x.add(this.self_attn.forward(this.input_layernorm.forward(x), placement));
    return h.add(this.mlp.forward(this.post_attention_layernorm.forward(h)));
  }
}

/** Embedding, layers, final norm: tokens i32 [B, T] to hidden states [B, T, hidden]. */
export class Decoder extends Module {
  readonly embed_tokens: Embedding;
  readonly layers: DecoderLayer[];
  readonly norm: RMSNorm;
  /** Recomputes each layer in the backward pass instead of keeping its activations. Chen et al. 2016, arXiv:1604.06174 */
  checkpointing = false;

  constructor(config: ModelConfig) {
    super();
    this.embed_tokens = new Embedding(config.vocab_size, config.hidden_size, { std: config.initializer_range });
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, i) => new DecoderLayer(config, i));
    this.norm = new RMSNorm(config.hidden_size, config.rms_norm_eps);
  }

  forward(tokens: Tensor, placement: Placement): Tensor {
    let h = this.embed_tokens.forward(tokens);
    for (const layer of this.layers) {
      const x = h;
      if (!isRecording()) {
        h = scope(() => layer.forward(x, placement)); // inference memory stays flat
        x.dispose();
      } else
        h = this.checkpointing
          ? checkpoint((input) => layer.forward(input, placement), x)
          : layer.forward(x, placement);
    }
    return this.norm.forward(h);
  }
}

/** Layers that write to the residual stream start smaller the more of them there are. Radford et al. 2019 (GPT-2) */
function outputStd({ initializer_range, num_hidden_layers }: ModelConfig): number {
  return initializer_range / Math.sqrt(2 * num_hidden_layers);
}
