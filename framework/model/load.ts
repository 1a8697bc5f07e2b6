import { statSync } from "node:fs";
import { join } from "node:path";
import { writeFileAtomic } from "../checkpoint/file.ts";
import { toFloat32 } from "../checkpoint/host.ts";
import { type CheckpointWithConfig, openCheckpoint } from "../checkpoint/load.ts";
import { writeSafetensors } from "../checkpoint/safetensors.ts";
import { sameShape, showShape } from "../tensor/shape.ts";
import { CausalLM } from "./causalLM.ts";
import { type ModelConfig, ModelConfigError } from "./config.ts";

/** Tables that some checkpoints carry along and that are computed here. */
const computed = /(rotary_emb\.(inv_freq|cos_cached|sin_cached)|freqs_(cos|sin|cis))$/;

/**
 * Loads a model from a run folder, a Hugging Face folder, a safetensors file or a PyTorch `.pth`.
 * @param config the sizes, in Hugging Face's names, over those of the folder's `config.json`; a lone file needs them
 * @throws FileError where the checkpoint is missing or damaged; ModelConfigError where sizes are missing, or the weights are
 *   of others, with all that does not fit
 */
export async function loadModel(
  path: string,
  { config = {} }: { config?: Partial<ModelConfig> } = {},
): Promise<CausalLM> {
  const checkpoint = openCheckpoint(path);
  const sizes = { ...checkpoint.config, ...config };
  if (sizes.hidden_size === undefined) {
    const place = statSync(path).isDirectory() ? join(path, "config.json") : "config.json beside it";
    throw new ModelConfigError(`${path}: no ${place}; give the model's sizes as loadModel(path, { config })`);
  }
  const normed = checkpoint.names().some((name) => name.endsWith("self_attn.q_norm.weight"));
  const model = new CausalLM({ ...sizes, model_type: normed ? "qwen3" : "llama", ...config });
  try {
    checkFit(path, model, checkpoint);
    for (const [name, parameter] of model.namedParameters()) parameter.write(toFloat32(checkpoint.get(name)));
  } catch (error) {
    model.dispose();
    throw error;
  }
  return model;
}

function checkFit(path: string, model: CausalLM, checkpoint: CheckpointWithConfig): void {
  const own = model.namedParameters();
  const tiedHead = (name: string) => model.lm_head === undefined && name === "lm_head.weight";
  const problems: string[] = [];
  for (const [name, parameter] of own) {
    if (!checkpoint.has(name)) problems.push(`${name} is missing`);
    else {
      const { shape } = checkpoint.info(name);
      if (!sameShape(shape, parameter.shape))
        problems.push(`${name} is ${showShape(shape)}, the config asks for ${showShape(parameter.shape)}`);
    }
  }
  for (const name of checkpoint.names())
    if (!own.has(name) && !tiedHead(name) && !computed.test(name)) problems.push(`${name} is not in the model`);
  if (problems.length === 0) return;
  const shown = problems.slice(0, 10).join("\n  ");
  throw new ModelConfigError(
    `${path}: the weights do not fit the config:\n  ${shown}${problems.length > 10 ? `\n  and ${problems.length - 10} more` : ""}`,
  );
}

/** Hugging Face's `config.json` of a model, which `transformers` loads as Qwen3, Qwen3-MoE or Llama. */
export function huggingFaceConfig(config: ModelConfig): Record<string, unknown> {
  const names = { qwen3: "Qwen3ForCausalLM", qwen3_moe: "Qwen3MoeForCausalLM", llama: "LlamaForCausalLM" };
  const architectures = [names[config.model_type]];
  const fixed = { attention_bias: false, hidden_act: "silu", torch_dtype: "float32", use_cache: true };
  if (config.num_experts)
    return {
      architectures,
      ...config,
      ...fixed,
      decoder_sparse_step: 1,
      mlp_only_layers: [],
      output_router_logits: false,
    };
  const { num_experts, num_experts_per_tok, moe_intermediate_size, norm_topk_prob, router_aux_loss_coef, ...dense } =
    config;
  return { architectures, ...dense, ...fixed };
}

/**
 * Writes `model.safetensors` and `config.json` into a folder, each whole or not at all.
 * @throws FileError where the disk is full or the folder cannot be written; what was there before stays
 */
export async function saveModel(model: CausalLM, folder: string): Promise<void> {
  const tensors = new Map(
    [...model.namedParameters()].map(([name, p]) => [
      name,
      { shape: [...p.shape], dtype: "F32" as const, data: async () => (await p.data()) as Float32Array<ArrayBuffer> },
    ]),
  );
  await writeSafetensors(join(folder, "model.safetensors"), tensors);
  writeFileAtomic(join(folder, "config.json"), `${JSON.stringify(huggingFaceConfig(model.config), null, 2)}\n`);
}
