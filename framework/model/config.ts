import { MicroMindError } from "../device/errors.ts";

/** Scaling of rotary frequencies, so that angles learnt on short texts serve for ones `factor` times as long. */
export type RopeScaling = Yarn | Llama3Scaling;

interface Longer {
  factor: number;
  original_max_position_embeddings: number;
}

/** Peng et al. 2023, arXiv:2309.00071 */
export interface Yarn extends Longer {
  type: "yarn";
  beta_fast: number;
  beta_slow: number;
  attention_factor: number;
}

/** Llama 3.1's and 3.2's: pairs that turn less than `low_freq_factor` times over the original length are slowed, those with more than `high_freq_factor` turns stay. */
export interface Llama3Scaling extends Longer {
  type: "llama3";
  low_freq_factor: number;
  high_freq_factor: number;
}

/** The decoder's sizes, under Hugging Face's names. */
export interface ModelConfig {
  /**
   * `qwen3` normalises queries and keys by head, `llama` does not, and `qwen2` has biases on queries, keys and values instead;
   * `qwen3_moe` is `qwen3` with experts.
   */
  model_type: "qwen3" | "qwen3_moe" | "llama" | "qwen2";
  vocab_size: number;
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number;
  intermediate_size: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
  rope_theta: number;
  rope_scaling: RopeScaling | null;
  /** The output layer is the embedding, transposed. */
  tie_word_embeddings: boolean;
  /** Deviation of the initial weights. */
  initializer_range: number;
  /** Experts in the place of each layer's MLP; 0: none, and the keys below count for nothing. */
  num_experts: number;
  /** Experts that each token is sent to. */
  num_experts_per_tok: number;
  /** Experts beside those that every token goes through, as MiniMind 2 has them. */
  n_shared_experts: number;
  /** Width of an expert. */
  moe_intermediate_size: number;
  /** The weights of a token's experts sum to 1. */
  norm_topk_prob: boolean;
  /** What the balance loss is multiplied by. */
  router_aux_loss_coef: number;
}

/** A config file, or sizes given in code, do not make a model. */
export class ModelConfigError extends MicroMindError {}

const defaults: ModelConfig = {
  model_type: "qwen3",
  vocab_size: 6400,
  hidden_size: 512,
  num_hidden_layers: 8,
  num_attention_heads: 8,
  num_key_value_heads: 2,
  head_dim: 0,
  intermediate_size: 0,
  max_position_embeddings: 32768,
  rms_norm_eps: 1e-6,
  rope_theta: 1e6,
  rope_scaling: null,
  tie_word_embeddings: true,
  initializer_range: 0.02,
  num_experts: 0,
  num_experts_per_tok: 1,
  n_shared_experts: 0,
  moe_intermediate_size: 0,
  norm_topk_prob: true,
  router_aux_loss_coef: 5e-4,
};

/** Keys that are positive numbers without being whole, or may be 0. */
const notCounts = [
  ...["rms_norm_eps", "initializer_range", "rope_theta"],
  ...["num_experts", "n_shared_experts", "router_aux_loss_coef"],
];

/** Sizes of known models; `vocab_size` follows the tokenizer in recipes. */
export const presets: Record<string, Partial<ModelConfig>> = {
  tiny: {
    vocab_size: 1024,
    hidden_size: 128,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    intermediate_size: 384,
    max_position_embeddings: 1024,
  },
  "micromind-26m": { hidden_size: 512, num_hidden_layers: 8, num_attention_heads: 8, num_key_value_heads: 2 },
  "minimind3-64m": { hidden_size: 768, num_hidden_layers: 8, num_attention_heads: 8, num_key_value_heads: 4 },
  "micromind-104m": { hidden_size: 768, num_hidden_layers: 16, num_attention_heads: 8, num_key_value_heads: 2 },
  /** 145.7 M parameters, of which a token meets 45.4 M. */
  "moe-145m": {
    hidden_size: 640,
    num_hidden_layers: 8,
    num_attention_heads: 10,
    num_key_value_heads: 2,
    num_experts: 4,
    moe_intermediate_size: 2176,
  },
};

/**
 * Fills in what is left out: `head_dim` is hidden / heads; `intermediate_size` 8/3 of hidden, rounded up to 64; `moe_intermediate_size` the
 * same. Keys that a decoder does not use are left aside.
 * @throws ModelConfigError where sizes do not fit each other, or the file is for a model of another kind
 */
export function modelConfig(given: Partial<ModelConfig> & Record<string, unknown>): ModelConfig {
  const known = Object.fromEntries(
    Object.keys(defaults).flatMap((key) => (given[key] === undefined ? [] : [[key, given[key]]])),
  );
  const config = { ...defaults, ...known } as ModelConfig;
  if (given.num_key_value_heads === undefined && given.num_attention_heads !== undefined)
    config.num_key_value_heads = config.num_attention_heads;
  config.head_dim ||= config.hidden_size / config.num_attention_heads;
  config.intermediate_size ||= Math.ceil((config.hidden_size * 8) / 3 / 64) * 64;
  config.moe_intermediate_size ||= config.intermediate_size;
  if (given.use_moe === false)
    config.num_experts = 0; // MiniMind names experts in its dense models' configs too
  else if (given.num_experts === undefined) Object.assign(config, miniMind2Experts(given));
  if (!config.num_experts) config.n_shared_experts = 0;
  if (config.num_experts && config.model_type === "qwen3") config.model_type = "qwen3_moe";
  if (config.rope_scaling) config.rope_scaling = ropeScaling(config.rope_scaling as unknown as Record<string, unknown>);
  check(config);
  if (config.num_experts) checkExperts(config, given);
  return config;
}

/** Experts under the names of MiniMind's second series, which leaves a single expert's weight as the softmax gives it. */
function miniMind2Experts(given: Record<string, unknown>): Partial<ModelConfig> {
  if (!given.use_moe || given.n_routed_experts === undefined) return {};
  const { n_routed_experts, num_experts_per_tok = 2, aux_loss_alpha = 0.1, norm_topk_prob = true } = given;
  return {
    num_experts: n_routed_experts as number,
    num_experts_per_tok: num_experts_per_tok as number,
    norm_topk_prob: (norm_topk_prob as boolean) && num_experts_per_tok !== 1,
    router_aux_loss_coef: aux_loss_alpha as number,
  };
}

/** YaRN's own factor of attention. Peng et al. 2023, arXiv:2309.00071, section 3.4 */
export const yarnAttention = (factor: number): number => 0.1 * Math.log(factor) + 1;

function ropeScaling(given: Record<string, unknown>): RopeScaling {
  const type = given.type ?? given.rope_type;
  if (type !== "yarn" && type !== "llama3")
    throw new ModelConfigError(
      `model config: rope_scaling ${JSON.stringify(type)} is not supported, expected "yarn" or "llama3"`,
    );
  const number = (key: string, otherwise: number, least = 0) => {
    const value = Number(given[key] ?? otherwise);
    if (value >= least && value > 0 && value < Infinity) return value;
    const range = least ? `of ${least} or more` : "above 0";
    throw new ModelConfigError(
      `model config: rope_scaling.${key} is ${JSON.stringify(given[key])}, expected a number ${range}`,
    );
  };
  /** @throws ModelConfigError unless the first is above the second */
  const expectAbove = (high: [name: string, value: number], low: [name: string, value: number]) => {
    if (high[1] > low[1]) return;
    throw new ModelConfigError(
      `model config: rope_scaling.${high.join(" ")} is not above ${low.join(" ")}: the pairs that turn faster stay as they are`,
    );
  };
  if (type === "llama3") {
    const scaling: Llama3Scaling = {
      type,
      factor: number("factor", 8, 1),
      original_max_position_embeddings: number("original_max_position_embeddings", 8192),
      low_freq_factor: number("low_freq_factor", 1),
      high_freq_factor: number("high_freq_factor", 4),
    };
    expectAbove(["high_freq_factor", scaling.high_freq_factor], ["low_freq_factor", scaling.low_freq_factor]);
    return scaling;
  }
  const factor = number("factor", 16, 1);
  const scaling: Yarn = {
    type,
    factor,
    original_max_position_embeddings: number("original_max_position_embeddings", 2048),
    beta_fast: number("beta_fast", 32),
    beta_slow: number("beta_slow", 1),
    attention_factor: number("attention_factor", yarnAttention(factor)),
  };
  expectAbove(["beta_fast", scaling.beta_fast], ["beta_slow", scaling.beta_slow]);
  return scaling;
}

function check(config: ModelConfig): void {
  const types = ["qwen3", "qwen3_moe", "llama", "qwen2"];
  if (!types.includes(config.model_type)) {
    throw new ModelConfigError(
      `model config: model_type ${JSON.stringify(config.model_type)} is not supported, expected ${types.join(" or ")}`,
    );
  }
  for (const [key, value] of Object.entries(config)) {
    const whole = typeof defaults[key as keyof ModelConfig] === "number" && !notCounts.includes(key);
    if (whole && !(Number.isInteger(value) && (value as number) > 0))
      throw new ModelConfigError(`model config: ${key} is ${value}, expected a positive whole number`);
  }
  for (const key of ["rope_theta", "rms_norm_eps"] as const)
    if (!(Number.isFinite(config[key]) && config[key] > 0))
      throw new ModelConfigError(`model config: ${key} is ${JSON.stringify(config[key])}, expected a number above 0`);
  for (const key of ["tie_word_embeddings", "norm_topk_prob"] as const)
    if (typeof config[key] !== "boolean")
      throw new ModelConfigError(`model config: ${key} is ${JSON.stringify(config[key])}, expected true or false`);
  if (config.model_type === "qwen3_moe" && !config.num_experts)
    throw new ModelConfigError('model config: model_type "qwen3_moe" needs num_experts');
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, head_dim: headDim } = config;
  if (heads % kvHeads)
    throw new ModelConfigError(
      `model config: num_attention_heads ${heads} is no multiple of num_key_value_heads ${kvHeads}`,
    );
  if (headDim % 2) throw new ModelConfigError(`model config: head_dim ${headDim} is odd; rotary embedding turns pairs`);
}

/** Whether the experts are such as Qwen3-MoE or MiniMind 2 has: in all layers. */
function checkExperts(config: ModelConfig, given: Record<string, unknown>): void {
  const { num_experts: experts, num_experts_per_tok: choices, model_type } = config;
  const fail = (what: string) => {
    throw new ModelConfigError(`model config: ${what}`);
  };
  if (!(Number.isInteger(experts) && experts > 0))
    fail(`num_experts is ${experts}, expected a whole number, 0 for none`);
  if (choices > experts) fail(`num_experts_per_tok ${choices} is more than num_experts ${experts}`);
  const { n_shared_experts: shared } = config;
  if (!(Number.isInteger(shared) && shared >= 0))
    fail(`n_shared_experts is ${shared}, expected a whole number, 0 for none`);
  if (!["qwen3_moe", "llama"].includes(model_type))
    fail(
      `num_experts is ${experts}, but experts come with model_type "qwen3_moe" or "llama" only, not "${model_type}"`,
    );
  const dense = given.mlp_only_layers;
  if ((given.decoder_sparse_step ?? 1) !== 1 || (Array.isArray(dense) && dense.length))
    fail("decoder_sparse_step and mlp_only_layers mix layers with and without experts, which is not supported");
}
