/** A LoRA adapter as PEFT's folder, and as MiniMind's `.pth`. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { replaceFolderAtomic, writeFileAtomic } from "../checkpoint/file.ts";
import { byteLength, fromFloat32, type HostTensor, toFloat32 } from "../checkpoint/host.ts";
import { openCheckpoint } from "../checkpoint/load.ts";
import { writePth } from "../checkpoint/pthWrite.ts";
import { type TensorToWrite, writeSafetensors } from "../checkpoint/safetensors.ts";
import { showShape } from "../tensor/shape.ts";
import { CONFIG, checkKind, halvesOf, layerOf, openAdapter, PREFIX, WEIGHTS } from "./adapter.ts";
import { type ExportPlan, type FloatDType, inDType, type PlannedTensor } from "./exportPlan.ts";
import { AdapterError } from "./lora.ts";
import type { Heads, NamedTensor } from "./names.ts";
import { headsByShare } from "./sizes.ts";

/** Whether a path holds an adapter rather than a model. @throws FileError where nothing is there, or it is damaged */
export function isAdapter(path: string): boolean {
  if (existsSync(path) && statSync(path).isDirectory()) return existsSync(join(path, CONFIG));
  return openCheckpoint(path)
    .names()
    .some((name) => /\.lora(\.|_)[AB]\./.test(name));
}

interface Adapter {
  path: string;
  /** Its matrices by our names: `<layer>.lora_A.weight`. */
  halves: ReadonlyMap<string, NamedTensor>;
  rank: number;
  /** What B · A is multiplied by. */
  scale: number;
  /** PEFT's own, where the adapter is one of PEFT's. */
  config?: Record<string, unknown>;
  heads: Heads;
  /** What of them had to be assumed. */
  notes: readonly string[];
}

function open(path: string, given: Partial<Heads>): Adapter {
  const { checkpoint, config } = openAdapter(path);
  if (config) checkKind(path, config);
  const halves = halvesOf(path, checkpoint);
  for (const [name, { source, shape }] of halves) {
    if (shape.length !== 2) throw new AdapterError(`${path}: ${source} is ${showShape(shape)}, expected a matrix`);
    if (!halves.has(otherHalf(name))) throw new AdapterError(`${path}: ${source}: its other half is missing`);
  }
  const ranks = new Set([...halves].map(([name, { shape }]) => shape[isA(name) ? 0 : 1]));
  const [rank] = ranks;
  if (ranks.size > 1 || !rank)
    throw new AdapterError(`${path}: its matrices are of ranks ${[...ranks].join(", ")}, expected one rank`);
  const scale = config ? Number(config.lora_alpha) / rank : 1; // MiniMind has no alpha
  return { path, halves, rank, scale, config, ...headsOf(path, halves, given) };
}

const isA = (name: string) => name.endsWith("A.weight");
const otherHalf = (name: string) => name.replace(/[AB]\.weight$/, isA(name) ? "B.weight" : "A.weight");

/**
 * The heads by which rows are put in another order: as given, else as shapes tell, else MiniMind's.
 * @throws AdapterError where the rows are not such heads'
 */
function headsOf(
  path: string,
  halves: ReadonlyMap<string, NamedTensor>,
  given: Partial<Heads>,
): { heads: Heads; notes: string[] } {
  const turned = [...halves.values()].filter((half) => half.turned);
  const rows = (kind: keyof Heads) => turned.find((half) => half.turned === kind)?.shape[0];
  const [q, k] = [rows("num_attention_heads"), rows("num_key_value_heads")];
  const { num_attention_heads: queries, num_key_value_heads: keys } = given;
  const share = q && k ? q / k : 4; // a key of MiniMind 2 is shared by 4
  const num_attention_heads = queries ?? headsByShare(path, share, q && k ? given : {});
  const heads = { num_attention_heads, num_key_value_heads: keys ?? num_attention_heads / share };
  checkRows(path, turned, heads);
  const told = q && k ? (queries ?? keys) : q ? queries : keys;
  if (turned.length === 0 || told) return { heads, notes: [] };
  const kind = q ? "num_attention_heads" : "num_key_value_heads";
  return { heads, notes: [`${kind} ${heads[kind]} is assumed, as MiniMind has it; --model.${kind} sets it`] };
}

function checkRows(path: string, turned: readonly NamedTensor[], heads: Heads): void {
  const sizes = turned.map(({ source, shape, turned: kind }) => {
    const size = shape[0]! / heads[kind!];
    if (Number.isInteger(heads[kind!]) && size % 2 === 0) return size;
    throw new AdapterError(
      `${path}: ${source} is ${showShape(shape)}: its rows are not those of ${heads[kind!]} heads with an even number of channels each; give model.${kind}`,
    );
  });
  const other = sizes.findIndex((size) => size !== sizes[0]);
  if (other > 0)
    throw new AdapterError(
      `${path}: heads have ${sizes[0]} channels in ${turned[0]!.source}, but ${sizes[other]} in ${turned[other]!.source}; give model.num_attention_heads and model.num_key_value_heads`,
    );
}

/**
 * A folder that PEFT loads.
 * @param given heads, for files under MiniMind's first names
 * @throws AdapterError where the file holds no adapter, or one of a kind that is not supported
 */
export function planPeft(path: string, dtype: FloatDType, given: Partial<Heads> = {}): ExportPlan {
  const adapter = open(path, given);
  const { rank, halves } = adapter;
  const targets = [...new Set([...halves.keys()].map((name) => layerOf(name).split(".").at(-1)!))].sort();
  const isRenamed = [...halves].some(([name, { source }]) => !source.includes(layerOf(name)));
  const config = {
    ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: "", auto_mapping: null },
    ...{ r: rank, lora_alpha: rank, lora_dropout: 0, target_modules: targets, bias: "none", fan_in_fan_out: false },
    ...{ inference_mode: true, init_lora_weights: true, modules_to_save: null },
    ...adapter.config,
    ...(isRenamed && { target_modules: targets }),
  };
  const tensors = converted(adapter, dtype, (name) => PREFIX + name);
  return {
    tensors,
    notes: adapter.notes,
    write: (folder, onTensor) =>
      replaceFolderAtomic(folder, async (to) => {
        await writeSafetensors(join(to, WEIGHTS), toWrite(tensors, onTensor));
        writeFileAtomic(join(to, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
        return [WEIGHTS, CONFIG];
      }),
  };
}

/**
 * A state_dict in the names that MiniMind has today. It knows no alpha: alpha / rank goes into B.
 * @param given heads, for files under MiniMind's first names
 * @throws AdapterError where the folder holds no adapter, or one of a kind that is not supported
 */
export function planAdapterPth(path: string, dtype: FloatDType, given: Partial<Heads> = {}): ExportPlan {
  const adapter = open(path, given);
  const { halves, scale } = adapter;
  const tensors = converted(adapter, dtype, (name) => name.replace(".lora_", ".lora."), scale);
  const isSquare = (a: string) => halves.get(a)!.shape[1] === halves.get(otherHalf(a))!.shape[0];
  const oblong = [...halves.keys()].filter((name) => isA(name) && !isSquare(name));
  const kinds = [...new Set(oblong.map((name) => layerOf(name).split(".").at(-1)))];
  return {
    tensors,
    notes: [
      ...adapter.notes,
      ...(scale === 1 ? [] : [`B is multiplied by alpha / rank, ${scale}`]),
      ...(kinds.length ? [`MiniMind adapts square layers only and will leave out ${kinds.join(", ")}`] : []),
    ],
    async write(to, onTensor) {
      await writePth(to, toWrite(tensors, onTensor));
      return [];
    },
  };
}

interface Converted extends PlannedTensor {
  to: FloatDType;
  read(): HostTensor;
}

function converted(
  { halves, path, heads }: Adapter,
  dtype: FloatDType,
  rename: (name: string) => string,
  scale = 1,
): Converted[] {
  return [...halves].map(([name, half]) => {
    const { source, shape, dtype: from } = half;
    const read = () => {
      const tensor = half.read(heads);
      if (scale === 1 || isA(name)) return inDType(path, source, tensor, dtype);
      const scaled = fromFloat32(
        toFloat32(tensor).map((value) => value * scale),
        shape,
      );
      return inDType(path, source, scaled, dtype);
    };
    const bytes = byteLength({ shape, dtype });
    return { name: rename(name), source, shape, from, to: dtype, bytes, read, check: () => void read() };
  });
}

function toWrite(tensors: readonly Converted[], onTensor: (bytes: number) => void): Map<string, TensorToWrite> {
  return new Map(
    tensors.map(({ name, shape, to, bytes, read }) => {
      const data = () => {
        onTensor(bytes);
        return read().data;
      };
      return [name, { shape, dtype: to, data }];
    }),
  );
}
