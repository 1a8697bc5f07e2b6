/** Configs that other projects write beside a decoder's weights, as ours. */
import type { GgufMeta } from "../checkpoint/gguf.ts";
import { type ModelConfig, ModelConfigError, yarnAttention } from "./config.ts";

type Json = Readonly<Record<string, unknown>>;
type Sizes = Partial<ModelConfig> & Record<string, unknown>;

/** Model types of Hugging Face that are read; MiniMind's own is Qwen3's or Llama's, which the tensors tell. */
const known = ["qwen3", "qwen3_moe", "llama", "qwen2", "minimind"];

/** Keys that change what a model computes, and the values, of a layer each one, that leave it as it is here. */
const mustBe: Record<string, readonly unknown[]> = {
  hidden_act: ["silu"],
  mlp_bias: [false],
  use_sliding_window: [false],
  layer_types: ["full_attention"],
  partial_rotary_factor: [1],
  n_group: [1],
};

/** The same in what a config says of its rotary embedding. */
const ropeMustBe: Record<string, readonly unknown[]> = {
  rope_type: ["default", "yarn", "llama3"],
  partial_rotary_factor: [1],
  truncate: [true],
  ...{ mscale: [], mscale_all_dim: [] },
  ...{ full_attention: [], sliding_attention: [] }, // embeddings that differ by layer
};

/** What Hugging Face's config classes take for keys that a file leaves out, where it is not what we take. */
const otherwise: Json = { rope_theta: 10_000, tie_word_embeddings: false };
const otherwiseMoe: Json = { ...otherwise, num_experts_per_tok: 8, norm_topk_prob: false };

/**
 * A Hugging Face `config.json` as sizes of ours, in the words of version 4 of transformers or 5.
 * @throws ModelConfigError for a model of another kind, or a setting that would change what it computes
 */
export function readConfig(path: string, json: Json): Sizes {
  const { model_type: type } = json;
  if (type !== undefined && !known.includes(type as string))
    throw new ModelConfigError(`${path}: model_type is ${JSON.stringify(type)}, expected one of ${known.join(", ")}`);
  const bias = type === "qwen2" ? [true, false] : [false]; // Qwen2 has its biases whatever this says
  expectOnly(path, json, { ...mustBe, attention_bias: bias });
  const isMiniMinds = type === undefined || type === "minimind";
  const { rope_parameters, num_local_experts, ...said } = withoutNulls(json);
  // Since version 5 transformers keeps all of the rotary embedding together, and has another name for the number of experts.
  const [ropeKey, rope] = said.rope_scaling
    ? (["rope_scaling", said.rope_scaling] as const)
    : (["rope_parameters", rope_parameters ?? {}] as const);
  if (typeof rope !== "object" || Array.isArray(rope))
    throw new ModelConfigError(`${path}: ${ropeKey} is ${JSON.stringify(rope)}, expected an object`);
  const { rope_theta, ...scaling } = withoutNulls(rope as Json);
  const sizes: Sizes = {
    ...(isMiniMinds ? {} : type === "qwen3_moe" ? otherwiseMoe : otherwise),
    ...(num_local_experts === undefined ? {} : { num_experts: num_local_experts as number }),
    ...said,
    ...(rope_theta === undefined ? {} : { rope_theta: rope_theta as number }),
  };
  const longest = sizes.max_position_embeddings;
  sizes.rope_scaling = readScaling(`${path}: ${ropeKey}`, scaling, isMiniMinds, longest) as typeof sizes.rope_scaling;
  return sizes;
}

/** What a scaling of Hugging Face's must say. */
const needed = {
  yarn: ["factor"],
  llama3: ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"],
};

/**
 * A scaling's settings, with what is left out as Hugging Face has it, or MiniMind: its attention is not scaled, and nor are angles unless the
 * model is for more positions than before.
 */
function readScaling(where: string, { type, ...given }: Json, isMiniMinds: boolean, longest?: number): Json | null {
  const scaling: Json = { rope_type: type ?? "default", ...given };
  expectOnly(where, scaling, ropeMustBe, ".");
  if (scaling.rope_type === "default") return null;
  if (isMiniMinds && scaling.rope_type === "yarn") {
    const { original_max_position_embeddings: original = 2048, factor = 16 } = scaling;
    const isLonger = longest === undefined || longest > (original as number);
    return { attention_factor: 1, ...scaling, factor: isLonger ? factor : 1 };
  }
  const missing = needed[scaling.rope_type as keyof typeof needed].find((key) => scaling[key] === undefined);
  if (missing) throw new ModelConfigError(`${where}.${missing} is missing, which ${scaling.rope_type} needs`);
  return { original_max_position_embeddings: longest, ...scaling };
}

/** @throws ModelConfigError for the first key with a value that is not allowed */
function expectOnly(where: string, json: Json, allowed: Record<string, readonly unknown[]>, join = ": "): void {
  for (const [key, values] of Object.entries(allowed)) {
    const value = json[key] ?? undefined;
    const all = key === "layer_types" && Array.isArray(value) ? value : [value];
    if (value !== undefined && !all.every((each) => values.includes(each)))
      throw new ModelConfigError(`${where}${join}${key} is ${JSON.stringify(value)}, which is not supported`);
  }
}

/** Null is what transformers writes for a key that was not given. */
const withoutNulls = (json: Json): Json =>
  Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));

const architectures: Record<string, string> = { qwen3: "qwen3", qwen3moe: "qwen3_moe", llama: "llama", qwen2: "qwen2" };

/** The sizes that a GGUF's metadata tells. @throws ModelConfigError for another architecture, or where a size is missing */
export function readGgufConfig(path: string, values: ReadonlyMap<string, GgufMeta>): Sizes {
  const architecture = String(values.get("general.architecture"));
  const model_type = architectures[architecture];
  if (model_type === undefined) {
    const names = Object.keys(architectures).join(", ");
    throw new ModelConfigError(`${path}: general.architecture is ${architecture}, expected one of ${names}`);
  }
  const optional = (key: string) => values.get(`${architecture}.${key}`) as number | undefined;
  const required = (key: string) => {
    const value = optional(key);
    if (typeof value === "number") return value;
    throw new ModelConfigError(`${path}: its metadata has no ${architecture}.${key}`);
  };
  const experts = optional("expert_count");
  return {
    model_type: model_type as ModelConfig["model_type"],
    hidden_size: required("embedding_length"),
    num_hidden_layers: required("block_count"),
    num_attention_heads: required("attention.head_count"),
    num_key_value_heads: optional("attention.head_count_kv"),
    head_dim: optional("attention.key_length"),
    intermediate_size: optional("feed_forward_length"),
    max_position_embeddings: required("context_length"),
    rms_norm_eps: tidy(required("attention.layer_norm_rms_epsilon")),
    rope_theta: tidy(optional("rope.freq_base") ?? 10_000),
    rope_scaling: readYarn(path, architecture, values),
    ...(experts && {
      ...{ num_experts: experts, num_experts_per_tok: required("expert_used_count"), norm_topk_prob: true },
      moe_intermediate_size: required("expert_feed_forward_length"),
    }),
  };
}

function readYarn(
  path: string,
  architecture: string,
  values: ReadonlyMap<string, GgufMeta>,
): ModelConfig["rope_scaling"] {
  const value = (key: string) => values.get(`${architecture}.rope.scaling.${key}`);
  const type = value("type") ?? "none";
  if (type === "none") return null;
  if (type !== "yarn")
    throw new ModelConfigError(`${path}: ${architecture}.rope.scaling.type is ${type}, expected none or yarn`);
  const number = (key: string, or: number) => tidy(Number(value(key) ?? or));
  const factor = number("factor", 1);
  return {
    type: "yarn",
    factor,
    original_max_position_embeddings: number(
      "original_context_length",
      Number(values.get(`${architecture}.context_length`)),
    ),
    beta_fast: number("yarn_beta_fast", 32),
    beta_slow: number("yarn_beta_slow", 1),
    attention_factor: tidy(number("attn_factor", 1) * yarnAttention(factor)), // llama.cpp multiplies the two
  };
}

/** The decimal that an f32 was written for: 1e-6 rather than 9.999999974752427e-7. */
const tidy = (value: number): number => Number(value.toPrecision(7));
