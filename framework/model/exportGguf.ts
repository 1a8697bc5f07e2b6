/** A model as a GGUF that llama.cpp runs. */
import { basename, resolve } from "node:path";
import { type GgmlType, ggmlBytes, ggmlTypes } from "../checkpoint/ggufTypes.ts";
import { type GgufTensor, type GgufValue, writeGguf } from "../checkpoint/ggufWrite.ts";
import { type HostTensor, sizeOf, toFloat32 } from "../checkpoint/host.ts";
import { ggufTokenizer } from "../text/gguf.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type ModelConfig, ModelConfigError, yarnAttention } from "./config.ts";
import { type ExportPlan, expectHalf, type PlannedTensor } from "./exportPlan.ts";
import { isMiniMinds } from "./load.ts";
import { ggufNames, turnsNeighbours } from "./names.ts";
import { halvesToNeighbours, stackTensors } from "./rows.ts";
import type { ModelWeights } from "./weights.ts";

/** llama.cpp's number for what most of a file's tensors are. */
const fileTypes: Record<GgmlType, number> = { F32: 0, F16: 1, Q8_0: 7, BF16: 32 };

/**
 * @throws ModelConfigError where llama.cpp would compute something else; TokenizerError where it has no name for the tokenizer's kind
 */
export function planGguf(weights: ModelWeights, type: GgmlType, tokenizer: Tokenizer): ExportPlan {
  const { config, path } = weights;
  if (isMiniMinds(config))
    throw new ModelConfigError(
      `${path}: llama.cpp has no architecture with shared experts, or experts without norms of queries and keys; write hf or pth`,
    );
  const architecture = config.model_type.replace("_", "");
  const metadata = new Map([
    ...modelValues(path, architecture, config, type),
    ...ggufTokenizer(tokenizer, config.vocab_size),
  ]);
  const sources = sourcesOf(weights, architecture);
  const narrow: string[] = [];
  const tensors = sources.map((source): Source & PlannedTensor => {
    const to = typeOf(source, type);
    if (to !== type && source.shape.length > 1 && !keptWhole(source))
      narrow.push(`${source.name} [${source.shape.join(", ")}]`);
    const check = () => void valuesOf(path, source, to);
    return { ...source, to, bytes: ggmlBytes(to, sizeOf(source.shape)), check };
  });
  return {
    tensors,
    notes: narrow.length
      ? [`rows of no multiple of 32 stay F16: ${narrow.slice(0, 4).join("; ")}${narrow.length > 4 ? "; …" : ""}`]
      : [],
    async write(to, onTensor) {
      const list = tensors.map((tensor): [string, GgufTensor] => {
        const kind = tensor.to as GgmlType;
        const data = () => {
          onTensor(tensor.bytes);
          return valuesOf(path, tensor, kind);
        };
        return [tensor.name, { shape: tensor.shape, type: kind, data }];
      });
      await writeGguf(to, metadata, new Map(list));
      return [];
    },
  };
}

interface Source {
  name: string;
  source: string;
  shape: readonly number[];
  from: string;
  read(): HostTensor;
}

/** The tensors under llama.cpp's names and in its order of rows, experts stacked. */
function sourcesOf(weights: ModelWeights, architecture: string): Source[] {
  const { config } = weights;
  const { num_attention_heads: heads, num_key_value_heads: kvHeads, num_experts: count } = config;
  return weights.names().flatMap((name): Source[] => {
    const { shape, dtype: from } = weights.info(name);
    const source = weights.sourceOf(name);
    const [, expert, part] = /\.mlp\.experts\.(\d+)\.(.+)$/.exec(name) ?? [];
    if (expert === undefined) {
      const kind = turnsNeighbours(architecture) ? /self_attn\.([qk])_proj\./.exec(name)?.[1] : undefined;
      const read = () =>
        kind ? halvesToNeighbours(weights.get(name), kind === "q" ? heads : kvHeads) : weights.get(name);
      return [{ name: ggufName(name), source, shape, from, read }];
    }
    if (expert !== "0") return [];
    const all = Array.from({ length: count }, (_, e) => name.replace(".experts.0.", `.experts.${e}.`));
    const stacked = ggufName(name.replace(/\.experts\.0\..+$/, ""), part);
    const read = () => stackTensors(all.map((each) => weights.get(each)));
    return [
      { name: stacked, source: `${source} … ${weights.sourceOf(all.at(-1)!)}`, shape: [count, ...shape], from, read },
    ];
  });
}

function ggufName(name: string, expertPart?: string): string {
  const [, layer, inner] = /^model\.layers\.(\d+)\.(.+)$/.exec(name) ?? [];
  const [table, own] = expertPart
    ? [ggufNames.experts, expertPart]
    : inner
      ? [ggufNames.layer, inner]
      : [ggufNames.outside, name];
  const [theirs, ours] = Object.entries(table).find(([, prefix]) => own.startsWith(prefix))!;
  return (layer === undefined ? "" : `blk.${layer}.`) + theirs + own.slice(ours.length);
}

/** llama.cpp wants vectors, and the weights of an expert router, in f32. */
const keptWhole = ({ name, shape }: Source): boolean => shape.length === 1 || name.includes("ffn_gate_inp.");

function typeOf(source: Source, type: GgmlType): GgmlType {
  if (keptWhole(source)) return "F32";
  return source.shape.at(-1)! % ggmlTypes[type].block === 0 ? type : "F16";
}

function valuesOf(path: string, source: Source, type: GgmlType): Float32Array<ArrayBuffer> {
  const values = toFloat32(source.read());
  if (type === "F16") expectHalf(path, source.source, values);
  return values;
}

function modelValues(path: string, architecture: string, config: ModelConfig, type: GgmlType): Map<string, GgufValue> {
  const values = new Map<string, GgufValue>([
    ["general.architecture", ["string", architecture]],
    ["general.type", ["string", "model"]],
    ["general.name", ["string", basename(resolve(path)).replace(/\.\w+$/, "")]],
    ["general.file_type", ["u32", fileTypes[type]]],
    ["general.quantization_version", ["u32", 2]],
  ]);
  const add = (key: string, value: GgufValue) => values.set(`${architecture}.${key}`, value);
  add("vocab_size", ["u32", config.vocab_size]);
  add("context_length", ["u32", config.max_position_embeddings]);
  add("embedding_length", ["u32", config.hidden_size]);
  add("block_count", ["u32", config.num_hidden_layers]);
  add("feed_forward_length", ["u32", config.intermediate_size]);
  add("attention.head_count", ["u32", config.num_attention_heads]);
  add("attention.head_count_kv", ["u32", config.num_key_value_heads]);
  add("attention.key_length", ["u32", config.head_dim]);
  add("attention.value_length", ["u32", config.head_dim]);
  add("attention.layer_norm_rms_epsilon", ["f32", config.rms_norm_eps]);
  add("rope.dimension_count", ["u32", config.head_dim]);
  add("rope.freq_base", ["f32", config.rope_theta]);
  addYarn(add, path, config);
  addExperts(add, path, config);
  return values;
}

function addYarn(
  add: (key: string, value: GgufValue) => void,
  path: string,
  { rope_scaling: yarn }: ModelConfig,
): void {
  if (!yarn) return;
  if (yarn.type !== "yarn")
    throw new ModelConfigError(`${path}: ${yarn.type}'s scaling of rotary angles is not written to GGUF; write hf`);
  add("rope.scaling.type", ["string", "yarn"]);
  add("rope.scaling.factor", ["f32", yarn.factor]);
  add("rope.scaling.original_context_length", ["u32", yarn.original_max_position_embeddings]);
  add("rope.scaling.attn_factor", ["f32", yarn.attention_factor / yarnAttention(yarn.factor)]);
  add("rope.scaling.yarn_beta_fast", ["f32", yarn.beta_fast]);
  add("rope.scaling.yarn_beta_slow", ["f32", yarn.beta_slow]);
}

function addExperts(add: (key: string, value: GgufValue) => void, path: string, config: ModelConfig): void {
  if (!config.num_experts) return;
  if (!config.norm_topk_prob)
    throw new ModelConfigError(`${path}: norm_topk_prob is false, but llama.cpp normalises the experts' weights`);
  add("expert_count", ["u32", config.num_experts]);
  add("expert_used_count", ["u32", config.num_experts_per_tok]);
  add("expert_feed_forward_length", ["u32", config.moe_intermediate_size]);
}
