/** What a config says of a model's tensors, and what tensors say of a config: without a device. */
import type { Checkpoint } from "../checkpoint/source.ts";
import { sameShape } from "../tensor/shape.ts";
import { type ModelConfig, ModelConfigError } from "./config.ts";
import type { Heads, NamedTensor } from "./names.ts";

/** The shape of every parameter that a model of these sizes has, by name. A tied output layer has none. */
export function parameterShapes(config: ModelConfig): Map<string, number[]> {
  const { hidden_size: hidden, head_dim: headDim, intermediate_size: inner, model_type: type } = config;
  const experts = config.num_experts;
  const [q, kv] = [config.num_attention_heads * headDim, config.num_key_value_heads * headDim];
  const mlp = (size: number) => ({ gate_proj: [size, hidden], up_proj: [size, hidden], down_proj: [hidden, size] });
  const shapes = new Map<string, number[]>([["model.embed_tokens.weight", [config.vocab_size, hidden]]]);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const add = (name: string, shape: number[]) => shapes.set(`model.layers.${layer}.${name}`, shape);
    const projections = { q_proj: [q, hidden], k_proj: [kv, hidden], v_proj: [kv, hidden], o_proj: [hidden, q] };
    for (const [name, shape] of Object.entries(projections)) add(`self_attn.${name}.weight`, shape);
    if (type === "qwen2")
      for (const name of ["q", "k", "v"]) add(`self_attn.${name}_proj.bias`, [name === "q" ? q : kv]);
    if (type.startsWith("qwen3")) for (const name of ["q", "k"]) add(`self_attn.${name}_norm.weight`, [headDim]);
    if (experts) add("mlp.gate.weight", [experts, hidden]);
    const paths = experts
      ? [...numbered("mlp.experts", experts), ...numbered("mlp.shared_experts", config.n_shared_experts)]
      : ["mlp"];
    for (const path of paths)
      for (const [name, shape] of Object.entries(mlp(experts ? config.moe_intermediate_size : inner)))
        add(`${path}.${name}.weight`, shape);
    add("input_layernorm.weight", [hidden]);
    add("post_attention_layernorm.weight", [hidden]);
  }
  shapes.set("model.norm.weight", [hidden]);
  if (!config.tie_word_embeddings) shapes.set("lm_head.weight", [config.vocab_size, hidden]);
  return shapes;
}

const numbered = (path: string, count: number) => Array.from({ length: count }, (_, i) => `${path}.${i}`);

export interface Inferred {
  sizes: Partial<ModelConfig> & Record<string, unknown>;
  /** What had to be assumed, a sentence each. */
  notes: string[];
}

/** The kind of decoder that has such tensors. */
export function modelTypeOf(tensors: { has(name: string): boolean }): ModelConfig["model_type"] {
  if (tensors.has("model.layers.0.self_attn.q_norm.weight"))
    return tensors.has("model.layers.0.mlp.gate.weight") ? "qwen3_moe" : "qwen3";
  return tensors.has("model.layers.0.self_attn.q_proj.bias") ? "qwen2" : "llama";
}

const shared = /^model\.layers\.0\.mlp\.shared_experts\.\d+\.gate_proj\.weight$/;

/**
 * A model's sizes by the shapes of its tensors, for files that come without a config. What shapes do not tell is MiniMind's: its third
 * series normalises queries and keys, its second has 8 heads of queries and 2 of keys, its first 16 and 8.
 * @throws ModelConfigError where there is no decoder in the file, or its heads cannot be told
 */
export function inferSizes(
  path: string,
  tensors: ReadonlyMap<string, NamedTensor>,
  given: Partial<ModelConfig>,
): Inferred {
  const shapeOf = (name: string): readonly number[] => {
    const tensor = tensors.get(name);
    if (tensor) return tensor.shape;
    const some = [...tensors.keys()].slice(0, 4).join(", ");
    throw new ModelConfigError(`${path}: has no ${name}: this is no decoder that is known here (it has ${some}, …)`);
  };
  const [vocab_size, hidden_size] = shapeOf("model.embed_tokens.weight") as [number, number];
  const layer = "model.layers.0.";
  const [q, k] = ["q", "k"].map((name) => shapeOf(`${layer}self_attn.${name}_proj.weight`)[0]!) as [number, number];
  const layers = [...tensors.keys()].map((name) => Number(/^model\.layers\.(\d+)\./.exec(name)?.[1] ?? -1));
  const model_type = modelTypeOf(tensors);
  const experts = tensors.get(`${layer}mlp.gate.weight`)?.shape[0];
  const inner = shapeOf(`${layer}mlp.${experts ? "experts.0." : ""}gate_proj.weight`)[0]!;
  const notes: string[] = [];
  const assume = <T>(name: string, value: T): T => {
    if ((given as Record<string, unknown>)[name] === undefined) notes.push(`${name} ${value}`);
    return value;
  };
  const headDim = tensors.get(`${layer}self_attn.q_norm.weight`)?.shape[0];
  const heads = given.num_attention_heads ?? (headDim ? q / headDim : headsByShare(path, q / k, given));
  if (!headDim && !given.num_key_value_heads) assume("num_attention_heads", heads);
  const head_dim = given.head_dim ?? headDim ?? q / heads;
  const first = !headDim && q / k === 2;
  return {
    sizes: {
      ...{ model_type, vocab_size, hidden_size, head_dim, num_attention_heads: heads, intermediate_size: inner },
      num_hidden_layers: Math.max(...layers) + 1,
      num_key_value_heads: k / head_dim,
      rms_norm_eps: assume("rms_norm_eps", headDim ? 1e-6 : 1e-5),
      rope_theta: assume("rope_theta", first ? 1e4 : 1e6),
      max_position_embeddings: assume("max_position_embeddings", 32768),
      ...(experts && {
        ...{ num_experts: experts, moe_intermediate_size: inner, norm_topk_prob: true },
        num_experts_per_tok: assume("num_experts_per_tok", headDim ? 1 : 2),
        n_shared_experts: [...tensors.keys()].filter((name) => shared.test(name)).length,
      }),
    },
    notes,
  };
}

/**
 * Query heads by how many share a key: as many as the heads of keys that are given ask for, else those of MiniMind's models without norms
 * of queries.
 * @throws ModelConfigError where neither tells them
 */
export function headsByShare(path: string, share: number, { num_key_value_heads: keys }: Partial<Heads>): number {
  const heads = keys ? keys * share : ({ 4: 8, 2: 16 } as Record<number, number>)[share];
  if (heads) return heads;
  throw new ModelConfigError(
    `${path}: there is no config.json, and shapes do not tell how many heads; give model.num_attention_heads`,
  );
}

/** Whether the output layer is the embedding: not there, or with the same numbers. */
export function isTied(tensors: ReadonlyMap<string, NamedTensor>, tied: Checkpoint["tied"]): boolean {
  const [head, embedding] = [tensors.get("lm_head.weight"), tensors.get("model.embed_tokens.weight")];
  if (!head || !embedding) return true;
  if (tied.some((group) => group.includes(head.source) && group.includes(embedding.source))) return true;
  if (!sameShape(head.shape, embedding.shape) || head.dtype !== embedding.dtype) return false;
  const bytes = [head, embedding].map((tensor) => {
    const { data } = tensor.read({ num_attention_heads: 1, num_key_value_heads: 1 });
    return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  }) as [Buffer, Buffer];
  return bytes[0].equals(bytes[1]);
}
