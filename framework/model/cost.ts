import type { ModelConfig } from "./config.ts";

/** Floating-point operations of a training step per token: 6 for each parameter of a matrix that it meets (Kaplan et al. 2020, arXiv:2001.08361). */
export function flopsPerToken(config: ModelConfig): number {
  return 6 * matrixParameters(config);
}

/** Parameters of the layers' matrices and of the output layer; a tied embedding counts once. */
export function matrixParameters(config: ModelConfig): number {
  const {
    hidden_size: d,
    num_attention_heads: h,
    num_key_value_heads: kv,
    head_dim,
    intermediate_size: f,
    num_hidden_layers,
    vocab_size,
  } = config;
  const attention = d * head_dim * (2 * h + 2 * kv);
  return num_hidden_layers * (attention + 3 * d * f) + vocab_size * d;
}
