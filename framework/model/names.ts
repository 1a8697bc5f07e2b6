/** Other projects' names of a decoder's tensors, told as Hugging Face's. */
import type { GgufCheckpoint } from "../checkpoint/gguf.ts";
import type { HostTensor, TensorInfo } from "../checkpoint/host.ts";
import type { Checkpoint } from "../checkpoint/source.ts";
import { neighboursToHalves } from "./rows.ts";

/** Heads of queries and of keys. */
export interface Heads {
  num_attention_heads: number;
  num_key_value_heads: number;
}

/** Where a tensor comes from. */
export interface NamedTensor extends TensorInfo {
  /** Its name in the file. */
  source: string;
  /** The heads whose rows `read` puts in another order; none where they stay. */
  turned?: keyof Heads;
  /** Its numbers in Hugging Face's order; heads are needed where the file keeps rotary pairs as neighbours. */
  read(heads: Heads): HostTensor;
}

/** Tables that some checkpoints carry along and that are computed here. */
const computed = /(rotary_emb\.(inv_freq|cos_cached|sin_cached)|freqs_(cos|sin|cis)|pos_cis|attention\.mask)$/;
/** What wrappers of PyTorch put before every name. */
const wrapper = /^(module\.|_orig_mod\.)+/;

/** The shared expert of MiniMind's early models of experts, which is not one of a list. */
const oneShared = /(\.mlp\.shared_experts)\.(?!\d)/;

/** MiniMind up to the first models of its second series: Meta's names of Llama. */
const meta: readonly (readonly [RegExp, string])[] = [
  [/^tok_embeddings\./, "model.embed_tokens."],
  [/^norm\./, "model.norm."],
  [/^output\./, "lm_head."],
  [/^layers\.(\d+)\.attention_norm\./, "model.layers.$1.input_layernorm."],
  [/^layers\.(\d+)\.ffn_norm\./, "model.layers.$1.post_attention_layernorm."],
  [/^layers\.(\d+)\.attention\.w([qkvo])\./, "model.layers.$1.self_attn.$2_proj."],
  [/^layers\.(\d+)\.feed_forward\.(.*)\bw1\./, "model.layers.$1.mlp.$2gate_proj."],
  [/^layers\.(\d+)\.feed_forward\.(.*)\bw2\./, "model.layers.$1.mlp.$2down_proj."],
  [/^layers\.(\d+)\.feed_forward\.(.*)\bw3\./, "model.layers.$1.mlp.$2up_proj."],
  [/^layers\.(\d+)\.feed_forward\.gate\./, "model.layers.$1.mlp.gate."],
];

/** llama.cpp's names and Hugging Face's, within a layer and outside of them. */
export const ggufNames = {
  outside: { "token_embd.": "model.embed_tokens.", "output_norm.": "model.norm.", "output.": "lm_head." },
  layer: {
    "attn_norm.": "input_layernorm.",
    "ffn_norm.": "post_attention_layernorm.",
    "attn_q.": "self_attn.q_proj.",
    "attn_k.": "self_attn.k_proj.",
    "attn_v.": "self_attn.v_proj.",
    "attn_output.": "self_attn.o_proj.",
    "attn_q_norm.": "self_attn.q_norm.",
    "attn_k_norm.": "self_attn.k_norm.",
    "ffn_gate.": "mlp.gate_proj.",
    "ffn_up.": "mlp.up_proj.",
    "ffn_down.": "mlp.down_proj.",
    "ffn_gate_inp.": "mlp.gate.",
  },
  /** All experts' matrices, one behind the other. */
  experts: { "ffn_gate_exps.": "gate_proj.", "ffn_up_exps.": "up_proj.", "ffn_down_exps.": "down_proj." },
} as const;

/** A checkpoint's tensors by Hugging Face's names, tables that are computed here left out. Names that nobody knows stay as they are. */
export function namedTensors(checkpoint: Checkpoint): Map<string, NamedTensor> {
  if (isGguf(checkpoint)) return ggufTensors(checkpoint);
  const isMeta = checkpoint.names().some((name) => /(^|\.)tok_embeddings\.weight$/.test(name));
  const named = new Map<string, NamedTensor>();
  for (const source of checkpoint.names()) {
    if (computed.test(source)) continue;
    const name = ourName(unwrapped(source), isMeta);
    named.set(name, namedTensor(checkpoint, source, name, isMeta));
  }
  return named;
}

/** A name without what wrappers of PyTorch put before it. */
export const unwrapped = (name: string): string => name.replace(wrapper, "");

/**
 * Hugging Face's name for one of MiniMind's; those that nobody knows stay as they are.
 * @param isMeta whether it is one of MiniMind's first, which are Meta's
 */
export function ourName(name: string, isMeta: boolean): string {
  const rule = isMeta ? meta.find(([pattern]) => pattern.test(name)) : undefined;
  return (rule ? name.replace(...rule) : name).replace(oneShared, "$1.0.");
}

/** @param paired whether the file keeps rotary pairs as neighbours: queries and keys are then read by halves */
export function namedTensor(checkpoint: Checkpoint, source: string, name: string, paired: boolean): NamedTensor {
  // Of an adapter's two factors, B · A, it is B that has the product's rows.
  const [, kind] = (paired && /\.self_attn\.([qk])_proj\.(weight|bias|lora_B\.weight)$/.exec(name)) || [];
  const turned = kind && (kind === "q" ? "num_attention_heads" : "num_key_value_heads");
  const read = (heads: Heads) => {
    const tensor = checkpoint.get(source);
    return turned ? neighboursToHalves(tensor, heads[turned]) : tensor;
  };
  return { ...checkpoint.info(source), source, ...(turned && { turned }), read };
}

export function isGguf(checkpoint: Checkpoint): checkpoint is GgufCheckpoint {
  return "values" in checkpoint;
}

/** llama.cpp wants the channels of its "llama" as neighbours, those of all other architectures here as halves. */
export const turnsNeighbours = (architecture: unknown): boolean => architecture === "llama";

function ggufTensors(file: GgufCheckpoint): Map<string, NamedTensor> {
  const paired = turnsNeighbours(file.values.get("general.architecture"));
  const named = new Map<string, NamedTensor>();
  for (const source of file.names()) {
    const info = file.info(source);
    const [, block, inner] = /^blk\.(\d+)\.(.+)$/.exec(source) ?? [];
    const experts = inner === undefined ? undefined : swapPrefix(inner, ggufNames.experts);
    if (experts !== undefined)
      for (let e = 0; e < info.shape[0]!; e++)
        named.set(`model.layers.${block}.mlp.experts.${e}.${experts}`, {
          ...{ dtype: info.dtype, shape: info.shape.slice(1), source },
          read: () => file.part(source, e),
        });
    else {
      const outside = swapPrefix(source, ggufNames.outside);
      const layer = inner === undefined ? undefined : swapPrefix(inner, ggufNames.layer);
      const name = outside ?? (layer === undefined ? source : `model.layers.${block}.${layer}`);
      named.set(name, namedTensor(file, source, name, paired));
    }
  }
  return named;
}

/** The name with the prefix that a table has for its own, if it has one. */
function swapPrefix(name: string, table: Readonly<Record<string, string>>): string | undefined {
  const found = Object.keys(table).find((prefix) => name.startsWith(prefix));
  return found && table[found] + name.slice(found.length);
}
