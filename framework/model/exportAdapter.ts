/** A LoRA adapter as PEFT's folder, and as MiniMind's `.pth`. */
import { existsSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileError, replaceFolderAtomic, writeFileAtomic } from "../checkpoint/file.ts";
import { byteLength, fromFloat32, type HostTensor, toFloat32 } from "../checkpoint/host.ts";
import { openCheckpoint } from "../checkpoint/load.ts";
import { writePth } from "../checkpoint/pthWrite.ts";
import { type TensorToWrite, writeSafetensors } from "../checkpoint/safetensors.ts";
import { CONFIG, checkKind, halvesOf, layerOf, openAdapter, PREFIX, WEIGHTS } from "./adapter.ts";
import { type ExportPlan, type FloatDType, inDType, type PlannedTensor } from "./exportPlan.ts";
import { AdapterError } from "./lora.ts";

/** Whether a path holds an adapter rather than a model. @throws FileError where nothing is there, or it is damaged */
export function isAdapter(path: string): boolean {
  if (existsSync(path) && statSync(path).isDirectory()) return existsSync(join(path, CONFIG));
  return openCheckpoint(path)
    .names()
    .some((name) => /\.lora(\.|_)[AB]\./.test(name));
}

interface Adapter {
  path: string;
  /** Names in the file by ours: `<layer>.lora_A.weight`. */
  halves: ReadonlyMap<string, string>;
  rank: number;
  /** What B · A is multiplied by. */
  scale: number;
  /** PEFT's own, where the adapter is one of PEFT's. */
  config?: Record<string, unknown>;
  get(source: string): HostTensor;
}

function open(path: string): Adapter {
  const { checkpoint, config } = openAdapter(path);
  if (config) checkKind(path, config);
  const halves = halvesOf(path, checkpoint);
  const ranks = new Set(
    [...halves].map(([name, source]) => checkpoint.info(source).shape[name.endsWith("A.weight") ? 0 : 1]),
  );
  const [rank] = ranks;
  if (ranks.size > 1 || !rank)
    throw new AdapterError(`${path}: its matrices are of ranks ${[...ranks].join(", ")}, expected one rank`);
  const scale = config ? Number(config.lora_alpha) / rank : 1; // MiniMind has no alpha
  return { path, halves, rank, scale, config, get: (source) => checkpoint.get(source) };
}

/** A folder that PEFT loads. */
export function planPeft(path: string, dtype: FloatDType): ExportPlan {
  const adapter = open(path);
  const { rank, halves } = adapter;
  const targets = [...new Set([...halves.keys()].map((name) => layerOf(name).split(".").at(-1)!))].sort();
  const config = adapter.config ?? {
    ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: "", auto_mapping: null },
    ...{ r: rank, lora_alpha: rank, lora_dropout: 0, target_modules: targets, bias: "none", fan_in_fan_out: false },
    ...{ inference_mode: true, init_lora_weights: true, modules_to_save: null },
  };
  const tensors = converted(adapter, dtype, (name) => PREFIX + name);
  return {
    tensors,
    notes: [],
    write: (folder, onTensor) =>
      replaceFolderAtomic(folder, async (to) => {
        await writeSafetensors(join(to, WEIGHTS), toWrite(tensors, onTensor));
        writeFileAtomic(join(to, CONFIG), `${JSON.stringify(config, null, 2)}\n`);
        return [WEIGHTS, CONFIG];
      }),
  };
}

/** A state_dict in MiniMind's names. It knows no alpha: alpha / rank goes into B. */
export function planAdapterPth(path: string, dtype: FloatDType): ExportPlan {
  const adapter = open(path);
  const tensors = converted(adapter, dtype, (name) => name.replace(".lora_", ".lora."), adapter.scale);
  const oblong = [...adapter.halves.keys()].filter((name) => name.endsWith("A.weight") && !isSquare(adapter, name));
  const kinds = [...new Set(oblong.map((name) => layerOf(name).split(".").at(-1)))];
  return {
    tensors,
    notes: [
      ...(adapter.scale === 1 ? [] : [`B is multiplied by alpha / rank, ${adapter.scale}`]),
      ...(kinds.length ? [`MiniMind adapts square layers only and will leave out ${kinds.join(", ")}`] : []),
    ],
    async write(to, onTensor) {
      await writePth(to, toWrite(tensors, onTensor));
      return [];
    },
  };
}

function isSquare({ halves, path, get }: Adapter, a: string): boolean {
  const b = halves.get(a.replace(/A\.weight$/, "B.weight"));
  if (b === undefined) throw new FileError(path, `tensor ${a}: its other half is missing`);
  return get(halves.get(a)!).shape[1] === get(b).shape[0];
}

interface Converted extends PlannedTensor {
  to: FloatDType;
  read(): HostTensor;
}

function converted(
  { halves, path, get }: Adapter,
  dtype: FloatDType,
  rename: (name: string) => string,
  scale = 1,
): Converted[] {
  return [...halves].map(([name, source]) => {
    const { shape, dtype: from } = get(source);
    const read = () => {
      const tensor = get(source);
      if (scale === 1 || name.endsWith("A.weight")) return inDType(path, source, tensor, dtype);
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
