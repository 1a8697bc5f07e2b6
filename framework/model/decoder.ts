import { checkpointAll } from "../autograd/checkpoint.ts";
import { isRecording } from "../autograd/graph.ts";
import { Attention, Embedding, Module, MoE, type Placement, RMSNorm, SwiGLU } from "../nn/index.ts";
import { adjoin } from "../nn/module.ts";
import { decodeLayer, type LayerWeights } from "../ops/decodeLayer.ts";
import type { Precision } from "../optim/index.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ModelConfig } from "./config.ts";

/** One layer: x + attention(norm(x)), then + mlp(norm(x)), the MLP being experts where the config has any. */
export class DecoderLayer extends Module {
  readonly self_attn: Attention;
  readonly mlp: SwiGLU | MoE;
  readonly input_layernorm: RMSNorm;
  readonly post_attention_layernorm: RMSNorm;

  constructor(config: ModelConfig, layer: number) {
    super();
    this.self_attn = new Attention({
      hidden: config.hidden_size,
      heads: config.num_attention_heads,
      kvHeads: config.num_key_value_heads,
      headDim: config.head_dim,
      normEps: config.model_type.startsWith("qwen3") ? config.rms_norm_eps : undefined,
      bias: config.model_type === "qwen2",
      layer,
      std: config.initializer_range,
      outputStd: outputStd(config),
    });
    this.mlp = mlp(config);
    this.input_layernorm = new RMSNorm(config.hidden_size, config.rms_norm_eps);
    this.post_attention_layernorm = new RMSNorm(config.hidden_size, config.rms_norm_eps);
    this.adjoinWeights();
  }

  /** One buffer for the matrices and one for the norms' weights, which {@link decode} binds. */
  private adjoinWeights(): void {
    const { self_attn: attention, mlp } = this;
    if (mlp instanceof MoE) return;
    const { q_proj, k_proj, v_proj, o_proj, q_norm, k_norm } = attention;
    adjoin([q_proj, k_proj, v_proj, o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj].map(({ weight }) => weight));
    const norms = [this.input_layernorm, this.post_attention_layernorm, q_norm, k_norm];
    adjoin(norms.flatMap((norm) => norm?.weight ?? []));
  }

  /** `balance` takes the balance loss of a layer of experts. */
  forward(x: Tensor, placement: Placement, balance?: Tensor[]): Tensor {
    const y = isRecording() ? undefined : this.decode(x, placement);
    if (y) return y;
    const h = this.self_attn.forward(x, placement, x, this.input_layernorm);
    return this.mlp.forward(h, h, this.post_attention_layernorm, balance);
  }

  /** Its weights where a token may take it in one launch: experts, biases and adapters call for several. */
  get whole(): LayerWeights | undefined {
    const { self_attn: attention, mlp, input_layernorm: norm, post_attention_layernorm: mlpNorm } = this;
    if (mlp instanceof MoE) return undefined;
    const { q_proj: q, k_proj: k, v_proj: v, o_proj: o, q_norm, k_norm } = attention;
    const { gate_proj: gate, up_proj: up, down_proj: down } = mlp;
    if ([q, k, v, o, gate, up, down].some(({ adapter, bias }) => adapter || bias)) return undefined;
    const heads = q_norm && k_norm && { q: q_norm, k: k_norm };
    const matrices = {
      ...{ q: q.weight, k: k.weight, v: v.weight, o: o.weight },
      ...{ gate: gate.weight, up: up.weight, down: down.weight },
    };
    return { matrices, norm, mlpNorm, heads };
  }

  /** The layer in one launch, where that is at hand: see `decodeLayer`. */
  private decode(x: Tensor, { table, positions, cache }: Placement): Tensor | undefined {
    const own = cache?.decoding(this.self_attn.layer, x.shape[1]);
    const weights = own && table && !positions ? this.whole : undefined;
    return own && table && weights && decodeLayer(x, weights, own, table);
  }
}

function mlp(config: ModelConfig): SwiGLU | MoE {
  const { hidden_size: hidden, initializer_range: std, num_experts: experts } = config;
  if (!experts) return new SwiGLU(hidden, config.intermediate_size, { std, downStd: outputStd(config) });
  return new MoE({
    ...{ hidden, experts, std, outputStd: outputStd(config) },
    intermediate: config.moe_intermediate_size,
    shared: config.n_shared_experts,
    choices: config.num_experts_per_tok,
    normalise: config.norm_topk_prob,
  });
}

/** Embedding, layers, final norm: tokens i32 [B, T] to hidden states [B, T, hidden]. */
export class Decoder extends Module {
  readonly embed_tokens: Embedding;
  readonly layers: DecoderLayer[];
  readonly norm: RMSNorm;
  /** Recomputes each layer in the backward pass instead of keeping its activations. Chen et al. 2016, arXiv:1604.06174 */
  checkpointing = false;
  /** Of the activations. In f16 norms, softmax, loss and all sums are still f32. */
  precision: Precision = "f32";

  constructor(config: ModelConfig) {
    super();
    this.embed_tokens = new Embedding(config.vocab_size, config.hidden_size, { std: config.initializer_range });
    this.layers = Array.from({ length: config.num_hidden_layers }, (_, i) => new DecoderLayer(config, i));
    this.norm = new RMSNorm(config.hidden_size, config.rms_norm_eps);
  }

  /** `balance` takes the balance loss of each layer of experts. */
  forward(tokens: Tensor, placement: Placement, balance?: Tensor[]): Tensor {
    let h = this.embed_tokens.forward(tokens, this.precision);
    for (const layer of this.layers) {
      const x = h;
      if (!isRecording()) {
        h = scope(() => layer.forward(x, placement)); // inference memory stays flat
        x.dispose();
        continue;
      }
      const run = (input: Tensor) => {
        const losses: Tensor[] = [];
        return [layer.forward(input, placement, balance && losses), ...losses];
      };
      const [y, ...losses] = this.checkpointing ? checkpointAll(run, x) : run(x);
      balance?.push(...losses);
      h = y;
    }
    return this.norm.forward(h);
  }
}

/** Layers that write to the residual stream start smaller the more of them there are. Radford et al. 2019 (GPT-2) */
function outputStd({ initializer_range, num_hidden_layers }: ModelConfig): number {
  return initializer_range / Math.sqrt(2 * num_hidden_layers);
}
