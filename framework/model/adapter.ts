/** LoRA adapters as files: PEFT's folder, read and written, and MiniMind's `.pth`, read. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileError, readingError, writeFileAtomic } from "../checkpoint/file.ts";
import { fromFloat32, toFloat32 } from "../checkpoint/host.ts";
import { openCheckpoint } from "../checkpoint/load.ts";
import { writeSafetensors } from "../checkpoint/safetensors.ts";
import { type Checkpoint, readJsonObject } from "../checkpoint/source.ts";
import { sameShape, showShape } from "../tensor/shape.ts";
import type { CausalLM } from "./causalLM.ts";
import type { ModelConfig } from "./config.ts";
import { huggingFaceConfig } from "./load.ts";
import { AdapterError, adaptableLayers, LoraAdapter } from "./lora.ts";
import { type NamedTensor, namedTensor, ourName, unwrapped } from "./names.ts";

export const WEIGHTS = "adapter_model.safetensors";
export const CONFIG = "adapter_config.json";
export const PREFIX = "base_model.model.";

/** What the base must share with the model that an adapter was trained on. */
const sizes = [
  "vocab_size",
  "hidden_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "head_dim",
  "intermediate_size",
] as const;

/** Anything with a hash of its vocabulary. */
interface Vocabulary {
  hash(): string;
}

/** How the names of a pair's halves are written: the layer's path, then which half. */
const namings = [/^(?:base_model\.model\.)?(.+)\.lora_([AB])(?:\.default)?\.weight$/, /^(.+)\.lora\.([AB])\.weight$/];

/**
 * Writes `adapter_model.safetensors` and `adapter_config.json`, which PEFT loads, each whole or not at all.
 * @param base where the model is from, for PEFT
 * @param dtype of the numbers in the file; F16 halves it, and rounds them to 11 bits
 * @throws FileError where the disk is full or the folder cannot be written; what was there before stays
 */
export async function saveAdapter(
  adapter: LoraAdapter,
  folder: string,
  { base, tokenizer, dtype = "F32" }: { base: string; tokenizer?: Vocabulary; dtype?: "F32" | "F16" },
): Promise<void> {
  const tensors = new Map(
    [...adapter.namedParameters()].map(([name, p]) => [
      PREFIX + name,
      {
        shape: [...p.shape],
        dtype,
        data: async () => fromFloat32((await p.data()) as Float32Array<ArrayBuffer>, p.shape, dtype).data,
      },
    ]),
  );
  await writeSafetensors(join(folder, WEIGHTS), tensors);
  writeFileAtomic(join(folder, CONFIG), `${JSON.stringify(peftConfig(adapter, base, tokenizer), null, 2)}\n`);
}

/** PEFT's LoraConfig. Its `auto_mapping` is free for what tells the base: keys that PEFT does not know it would warn of. */
function peftConfig(adapter: LoraAdapter, base: string, tokenizer?: Vocabulary): Record<string, unknown> {
  const { rank, alpha, dropout = 0 } = adapter.options;
  const { config } = adapter.model;
  const { architectures } = huggingFaceConfig(config) as { architectures: string[] };
  const known = Object.fromEntries(sizes.map((key) => [key, config[key]]));
  return {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    auto_mapping: {
      base_model_class: architectures[0],
      parent_library: "transformers",
      base_model_config: known,
      ...(tokenizer ? { tokenizer: tokenizer.hash() } : {}),
    },
    r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    target_modules: adapter.targets(),
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
  };
}

/**
 * Loads an adapter for a model, not yet in use: `attach()` or `merge()` it.
 * @param path a folder as `saveAdapter` or PEFT writes it, or MiniMind's `.pth`, under its first names too, which has no config: `alpha` is its rank there, as
 *   MiniMind has it, unless given
 * @param tokenizer the model's, to be compared with the one the adapter was trained with
 * @throws FileError where files are missing or damaged; AdapterError with all that does not fit the model
 */
export async function loadAdapter(
  model: CausalLM,
  path: string,
  { alpha, tokenizer }: { alpha?: number; tokenizer?: Vocabulary } = {},
): Promise<LoraAdapter> {
  const { checkpoint, config } = openAdapter(path);
  try {
    if (config) checkConfig(path, config, model, tokenizer);
    const halves = halvesOf(path, checkpoint);
    const rank = config ? Number(config.r) : [...halves.values()][0].shape[0];
    checkFit(path, halves, rank, model);
    const targets = [...new Set([...halves.keys()].map(layerOf))];
    const scaled = alpha ?? (config ? Number(config.lora_alpha) : rank);
    const adapter = new LoraAdapter(model, {
      rank,
      alpha: scaled,
      dropout: Number(config?.lora_dropout ?? 0),
      targets,
    });
    for (const [name, p] of adapter.namedParameters())
      p.write(toFloat32((halves.get(name) as NamedTensor).read(model.config)));
    return adapter;
  } finally {
    checkpoint.close();
  }
}

/** @throws FileError where files are missing or damaged */
export function openAdapter(path: string): { checkpoint: Checkpoint; config?: Record<string, unknown> } {
  if (!isFolder(path)) return { checkpoint: openCheckpoint(path) };
  const config = join(path, CONFIG);
  if (!existsSync(config)) throw new FileError(path, `holds no adapter: there is no ${CONFIG}`);
  const weights = [WEIGHTS, "adapter_model.bin"].map((name) => join(path, name)).find((name) => existsSync(name));
  if (!weights) throw new FileError(path, `holds no ${WEIGHTS} beside its ${CONFIG}`);
  return { checkpoint: openCheckpoint(weights), config: readJsonObject(config) };
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw readingError(path, error);
  }
}

/** PEFT's settings with which an adapter is more than one pair of matrices for each layer. */
const otherKinds = [
  ...["use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "bias"],
  ...["alora_invocation_tokens", "layer_replication"],
];
/** Beginnings that leave the model's own weights as they are; PiSSA's and OLoRA's take from them what the adapter holds. */
const initials: unknown[] = [true, false, "gaussian", "orthogonal", "eva", "mica"];

/** @throws AdapterError for kinds of adapters that would compute something else */
export function checkKind(path: string, config: Record<string, unknown>): void {
  const where = join(path, CONFIG);
  if (config.peft_type !== "LORA")
    throw new AdapterError(`${where}: peft_type is ${JSON.stringify(config.peft_type)}, expected "LORA"`);
  for (const key of ["r", "lora_alpha"])
    if (!(Number(config[key]) > 0))
      throw new AdapterError(`${where}: ${key} is ${JSON.stringify(config[key])}, expected a number above 0`);
  const set = (value: unknown) =>
    typeof value === "object" ? Object.keys(value ?? {}).length > 0 : value && value !== "none";
  const strange = initials.includes(config.init_lora_weights ?? true) ? undefined : "init_lora_weights";
  const key = otherKinds.find((name) => set(config[name])) ?? strange;
  if (key) throw new AdapterError(`${where}: ${key} is ${JSON.stringify(config[key])}, which is not supported`);
}

/** Refuses kinds of adapters that would compute something else, and those of another model. */
function checkConfig(path: string, config: Record<string, unknown>, model: CausalLM, tokenizer?: Vocabulary): void {
  checkKind(path, config);
  const base = (config.auto_mapping ?? {}) as { base_model_config?: Partial<ModelConfig>; tokenizer?: string };
  const other = sizes.filter((key) => (base.base_model_config?.[key] ?? model.config[key]) !== model.config[key]);
  if (other.length) {
    const differences = other.map((key) => `${key} ${base.base_model_config?.[key]}, not ${model.config[key]}`);
    throw new AdapterError(`${path}: the adapter is for another model: ${differences.join("; ")}`);
  }
  if (base.tokenizer && tokenizer && base.tokenizer !== tokenizer.hash())
    throw new AdapterError(`${path}: the adapter was trained with another tokenizer than this model's`);
}

/** MiniMind's first names of what lies within a layer, and those that came after them. */
const [first, later] = [/^layers\.\d+\./, /^model\.layers\.\d+\./];

/**
 * An adapter's matrices by our names, `<path>.lora_A.weight`. Under MiniMind's first names, B of queries and keys is read by halves.
 * @throws AdapterError where there are other tensors, or names of both kinds
 */
export function halvesOf(path: string, checkpoint: Checkpoint): Map<string, NamedTensor> {
  const strangers: string[] = [];
  const plain = new Map<string, string>();
  for (const source of checkpoint.names()) {
    const match = namings.map((naming) => naming.exec(unwrapped(source))).find(Boolean);
    if (match) plain.set(`${match[1]}.lora_${match[2]}.weight`, source);
    else strangers.push(source);
  }
  const [early, late] = [first, later].map((names) => [...plain].find(([name]) => names.test(name))?.[1]);
  if (early && late)
    throw new AdapterError(`${path}: mixes MiniMind's first names (${early}) with its later ones (${late})`);
  const isMeta = early !== undefined;
  const halves = new Map<string, NamedTensor>();
  for (const [name, source] of plain) {
    const ours = ourName(name, isMeta);
    if (isMeta && ours === name) strangers.push(source);
    else halves.set(ours, namedTensor(checkpoint, source, ours, isMeta));
  }
  if (strangers.length || halves.size === 0)
    throw new AdapterError(
      `${path}: ${strangers.length ? `${strangers.slice(0, 3).join(", ")} ${strangers.length > 1 ? "are" : "is"} no part of a LoRA adapter` : "holds no tensors"}, expected names such as ${isMeta ? "layers.0.attention.wq.lora.A.weight" : "model.layers.0.self_attn.q_proj.lora_A.weight"}`,
    );
  return halves;
}

export const layerOf = (name: string) => name.slice(0, name.lastIndexOf(".lora_"));

function checkFit(path: string, halves: ReadonlyMap<string, NamedTensor>, rank: number, model: CausalLM): void {
  const layers = adaptableLayers(model);
  const problems = [...halves].flatMap(([name, { source: stored, shape }]) => {
    const layer = layers.get(layerOf(name));
    if (!layer) return [`${stored}: the model has no layer ${layerOf(name)} that takes one`];
    const [out, into] = layer.weight.shape;
    const isA = name.endsWith("A.weight");
    const other = name.replace(/[AB]\.weight$/, isA ? "B.weight" : "A.weight");
    const expected = isA ? [rank, into] : [out, rank];
    return [
      ...(halves.has(other) ? [] : [`${stored}: its other half, ${other}, is missing`]),
      ...(sameShape(shape, expected) ? [] : [`${stored} is ${showShape(shape)}, expected ${showShape(expected)}`]),
    ];
  });
  if (problems.length === 0) return;
  const more = problems.length > 6 ? `\n  and ${problems.length - 6} more` : "";
  throw new AdapterError(
    `${path}: the adapter does not fit this model:\n  ${problems.slice(0, 6).join("\n  ")}${more}`,
  );
}
