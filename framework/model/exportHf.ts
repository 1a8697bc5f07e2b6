/** A model as a Hugging Face folder, and as PyTorch's `.pth`. */
import { copyFileSync, existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { replaceFolderAtomic, writeFileAtomic } from "../checkpoint/file.ts";
import { byteLength, type HostData } from "../checkpoint/host.ts";
import { writePth } from "../checkpoint/pthWrite.ts";
import type { TensorToWrite } from "../checkpoint/safetensors.ts";
import { writeSafetensorsFolder } from "../checkpoint/shards.ts";
import { readJsonObject } from "../checkpoint/source.ts";
import { modelInputs } from "../text/config.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import type { ModelConfig } from "./config.ts";
import { type ExportPlan, type FloatDType, inDType, type PlannedTensor } from "./exportPlan.ts";
import { configJson, huggingFaceConfig, isMiniMinds, tokenIds } from "./load.ts";
import type { ModelWeights } from "./weights.ts";

const torchNames = { F32: "float32", F16: "float16", BF16: "bfloat16" } as const;

/**
 * A folder that `transformers` loads: config.json, generation_config.json, the tokenizer's files, model.safetensors (in shards above
 * 4 GB).
 * @param tokenizer without it the folder holds the weights alone
 */
export function planHuggingFace(weights: ModelWeights, dtype: FloatDType, tokenizer?: Tokenizer): ExportPlan {
  const { checkpoint, config } = weights;
  return {
    tensors: planned(weights, dtype),
    notes: isMiniMinds(config) ? ["only MiniMind's own code reads such experts, not transformers by itself"] : [],
    write: (folder, onTensor) =>
      replaceFolderAtomic(folder, async (to) => {
        const files = await writeSafetensorsFolder(to, toWrite(weights, dtype, onTensor));
        const json = (name: string, value: object) => {
          writeFileAtomic(join(to, name), configJson(value));
          files.push(name);
        };
        const ids = tokenizer ? tokenIds(tokenizer) : {};
        json("config.json", { ...huggingFaceConfig(config), torch_dtype: torchNames[dtype], ...ids });
        const old = join(dirname(checkpoint.files[0]!), "generation_config.json");
        if (existsSync(old)) {
          copyFileSync(old, join(to, "generation_config.json"));
          files.push("generation_config.json");
        } else json("generation_config.json", { do_sample: true, ...ids });
        if (!tokenizer) return files;
        tokenizer.save(to);
        files.push("tokenizer.json");
        json("tokenizer_config.json", { ...modelInputs, ...readJsonObject(join(to, "tokenizer_config.json")) });
        json("special_tokens_map.json", specialTokens(tokenizer));
        return files;
      }),
  };
}

/** PyTorch's state_dict in MiniMind's names, which are Hugging Face's; the tied output layer stands in it by name. */
export function planPth(weights: ModelWeights, dtype: FloatDType): ExportPlan {
  const tied: Record<string, string> = weights.config.tie_word_embeddings
    ? { "lm_head.weight": "model.embed_tokens.weight" }
    : {};
  return {
    tensors: planned(weights, dtype),
    notes: [
      ...Object.entries(tied).map(([name, holder]) => `${name} shares the numbers of ${holder}`),
      ...scalingNote(weights.config),
    ],
    async write(path, onTensor) {
      await writePth(path, toWrite(weights, dtype, onTensor), tied);
      return [];
    },
  };
}

/** What has to be said again of a file without a config. */
function scalingNote({ rope_scaling: scaling }: ModelConfig): string[] {
  if (!scaling) return [];
  const { type, ...settings } = scaling;
  const flags = Object.entries({ rope_type: type, ...settings }).map(
    ([key, value]) => `--model.rope_scaling.${key} ${value}`,
  );
  return [`the rotary angles are scaled, which a .pth does not tell; convert it back with ${flags.join(" ")}`];
}

function planned(weights: ModelWeights, dtype: FloatDType): PlannedTensor[] {
  return weights.names().map((name) => {
    const { shape, dtype: from } = weights.info(name);
    const check = () => void inDType(weights.path, name, weights.get(name), dtype);
    return { name, source: weights.sourceOf(name), shape, from, to: dtype, bytes: byteLength({ shape, dtype }), check };
  });
}

function toWrite(
  weights: ModelWeights,
  dtype: FloatDType,
  onTensor: (bytes: number) => void,
): Map<string, TensorToWrite> {
  const entries = weights.names().map((name): [string, TensorToWrite] => {
    const { shape } = weights.info(name);
    const data = (): HostData => {
      const tensor = inDType(weights.path, name, weights.get(name), dtype);
      onTensor(byteLength(tensor));
      return tensor.data;
    };
    return [name, { shape, dtype, data }];
  });
  return new Map(entries);
}

function specialTokens({ bosToken, eosToken, padToken, unkToken }: Tokenizer): Record<string, string> {
  const tokens = { bos_token: bosToken, eos_token: eosToken, pad_token: padToken, unk_token: unkToken };
  return Object.fromEntries(
    Object.entries(tokens).flatMap(([key, token]) => (token === undefined ? [] : [[key, token]])),
  );
}
