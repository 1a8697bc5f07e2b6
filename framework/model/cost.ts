import type { ModelConfig } from "./config.ts";

/** Floating-point operations of a training step per token: 6 for each parameter of a matrix that it meets (Kaplan et al. 2020, arXiv:2001.08361). */
export function flopsPerToken(config: ModelConfig): number {
  return 6 * matrixParameters(config);
}

/** Parameters of the matrices that a token meets: of all layers, of the router and its own experts only, of the output layer. A tied embedding counts once. */
export function matrixParameters(config: ModelConfig): number {
  const {
    hidden_size: d,
    num_attention_heads: h,
    num_key_value_heads: kv,
    head_dim,
    intermediate_size: f,
    num_hidden_layers,
    vocab_size,
    num_experts: experts,
  } = config;
  const attention = d * head_dim * (2 * h + 2 * kv);
  const met = config.num_experts_per_tok + config.n_shared_experts;
  const mlp = experts ? d * experts + met * 3 * d * config.moe_intermediate_size : 3 * d * f;
  return num_hidden_layers * (attention + mlp) + vocab_size * d;
}
