import { join } from "node:path";
import { FileError, writeFileAtomic } from "../checkpoint/file.ts";
import { toFloat32 } from "../checkpoint/host.ts";
import { writeSafetensors } from "../checkpoint/safetensors.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { CausalLM } from "./causalLM.ts";
import type { ModelConfig } from "./config.ts";
import { expectFit, openWeights } from "./weights.ts";

/**
 * Loads a model from a run folder, a Hugging Face folder, a safetensors file, a PyTorch `.pth` or a GGUF; MiniMind's older names are
 * understood.
 * @param config the sizes, in Hugging Face's names, over those of the folder's `config.json`; a lone file needs them
 * @throws FileError where the checkpoint is missing or damaged, or holds NaN or Infinity; ModelConfigError where sizes are missing, or the weights are
 *   of others, with all that does not fit
 */
export async function loadModel(
  path: string,
  { config = {} }: { config?: Partial<ModelConfig> } = {},
): Promise<CausalLM> {
  const weights = openWeights(path, { config });
  expectFit(weights);
  const model = new CausalLM(weights.config);
  try {
    for (const [name, parameter] of model.namedParameters()) {
      const values = toFloat32(weights.get(name));
      if (!allFinite(values)) throw new FileError(path, `${name} holds NaN or Infinity: the weights are broken`);
      parameter.write(values);
    }
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model;
}

/** Every one of them: what is not turns its product with 0 into NaN, and so the sum. */
function allFinite(values: Float32Array): boolean {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * 0;
  return sum === 0;
}

const architectures = {
  qwen3: "Qwen3ForCausalLM",
  qwen3_moe: "Qwen3MoeForCausalLM",
  llama: "LlamaForCausalLM",
  qwen2: "Qwen2ForCausalLM",
};

/** Whether a model is one that only MiniMind's own code knows beside ours: experts without norms of queries and keys, or shared ones. */
export const isMiniMinds = ({ num_experts, n_shared_experts, model_type }: ModelConfig): boolean =>
  num_experts > 0 && (n_shared_experts > 0 || model_type === "llama");

/** Hugging Face's `config.json` of a model, which `transformers` loads as Qwen3, Qwen3-MoE, Llama or Qwen2, unless {@link isMiniMinds}. */
export function huggingFaceConfig(config: ModelConfig): Record<string, unknown> {
  const fixed = { attention_bias: false, hidden_act: "silu", torch_dtype: "float32", use_cache: true };
  const rope_scaling = config.rope_scaling && { rope_type: config.rope_scaling.type, ...config.rope_scaling };
  const all = { architectures: [architectures[config.model_type]], ...config, rope_scaling, ...fixed };
  if (isMiniMinds(config)) {
    const { num_experts, router_aux_loss_coef, moe_intermediate_size, ...more } = all;
    const names = { architectures: ["MiniMindForCausalLM"], model_type: "minimind", use_moe: true };
    const experts = { n_routed_experts: num_experts, aux_loss_alpha: router_aux_loss_coef };
    return { ...more, ...names, ...experts, intermediate_size: moe_intermediate_size };
  }
  if (config.num_experts) {
    const { n_shared_experts, ...routed } = all;
    return { ...routed, decoder_sparse_step: 1, mlp_only_layers: [], output_router_logits: false };
  }
  const { num_experts, num_experts_per_tok, n_shared_experts, ...rest } = all;
  const { moe_intermediate_size, norm_topk_prob, router_aux_loss_coef, ...dense } = rest;
  return dense;
}

/** Keys that transformers reads as fractions: its version 5 refuses `0` where it expects `0.0`. */
const fractions =
  /("(rms_norm_eps|rope_theta|initializer_range|router_aux_loss_coef|factor|attention_factor|beta_fast|beta_slow|low_freq_factor|high_freq_factor)": -?\d+)(?=,?$)/gm;

/** The text of a `config.json`. */
export const configJson = (config: object): string => `${JSON.stringify(config, null, 2).replace(fractions, "$1.0")}\n`;

/** The ids that Hugging Face's configs name: with them `generate` ends where a reply does. */
export function tokenIds({ bosTokenId, eosTokenId, padTokenId }: Tokenizer): Record<string, number> {
  const ids = { bos_token_id: bosTokenId, eos_token_id: eosTokenId, pad_token_id: padTokenId };
  return Object.fromEntries(Object.entries(ids).flatMap(([key, id]) => (id === undefined ? [] : [[key, id]])));
}

/**
 * Writes `model.safetensors` and `config.json` into a folder, each whole or not at all.
 * @param tokenizer tells `config.json` the ids that begin and end a text
 * @throws FileError where the disk is full or the folder cannot be written; what was there before stays
 */
export async function saveModel(model: CausalLM, folder: string, tokenizer?: Tokenizer): Promise<void> {
  const tensors = new Map(
    [...model.namedParameters()].map(([name, p]) => [
      name,
      { shape: [...p.shape], dtype: "F32" as const, data: async () => (await p.data()) as Float32Array<ArrayBuffer> },
    ]),
  );
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  const ids = tokenizer ? tokenIds(tokenizer) : {};
  writeFileAtomic(join(folder, "config.json"), configJson({ ...huggingFaceConfig(model.config), ...ids }));
}
