/** Checkpoints in several files, as Hugging Face keeps large models: shards, and an index that says which tensor is where. */
import { basename, dirname, join } from "node:path";
import { FileError, writeFileAtomic } from "./file.ts";
import { byteLength, type TensorInfo } from "./host.ts";
import { type TensorsToWrite, type TensorToWrite, writeSafetensors } from "./safetensors.ts";
import { type Checkpoint, expectEntry, readJsonObject } from "./source.ts";

/**
 * Opens a `*.index.json` and the shards that it names, which lie in the same folder.
 * @param open how a shard is opened
 * @throws FileError where the index is not one, names a file elsewhere, or a shard is missing or lacks a tensor
 */
export function openShards(path: string, open: (path: string) => Checkpoint): Checkpoint {
  const map = readWeightMap(path);
  const shards = new Map<string, Checkpoint>();
  for (const file of new Set(map.values())) shards.set(file, open(join(dirname(path), file)));
  for (const [name, file] of map) {
    if (shards.get(file)!.has(name)) continue;
    throw new FileError(path, `says that tensor ${name} is in ${file}, which does not have it`);
  }
  const shardOf = (name: string): Checkpoint => shards.get(expectEntry(path, map, name))!;
  return {
    path,
    files: [path, ...[...shards.values()].flatMap(({ files }) => files)],
    metadata: [...shards.values()][0]?.metadata ?? {},
    tied: [...shards.values()].flatMap(({ tied }) => tied),
    names: () => [...map.keys()],
    has: (name) => map.has(name),
    info: (name) => shardOf(name).info(name),
    get: (name) => shardOf(name).get(name),
    close: () => shards.forEach((shard) => void shard.close()),
  };
}

function readWeightMap(path: string): Map<string, string> {
  const { weight_map: map } = readJsonObject(path);
  if (typeof map !== "object" || map === null || Array.isArray(map)) {
    throw new FileError(path, "has no weight_map, expected { weight_map: { tensor: file } }");
  }
  for (const [name, file] of Object.entries(map)) {
    if (typeof file === "string" && file !== "" && basename(file) === file && !/^\.\.?$|\\/.test(file)) continue;
    throw new FileError(path, `places tensor ${name} in ${JSON.stringify(file)}, expected a file of the same folder`);
  }
  return new Map(Object.entries(map as Record<string, string>));
}

/** Bytes of tensors in a shard unless told otherwise: below the 4 GiB that FAT and some services stop at. */
const shardBytes = 4_000_000_000;

/**
 * Writes a model into a folder as `transformers` expects it: `model.safetensors`, or above `maxShardBytes`
 * `model-00001-of-0000N.safetensors` and the index. Each file is whole or absent, but several are not one step: where an older
 * checkpoint must survive a crash, call this inside `replaceFolderAtomic`.
 * @returns the names of the files written
 * @throws FileError, ShapeError, DTypeError as writeSafetensors
 */
export async function writeSafetensorsFolder(
  folder: string,
  tensors: TensorsToWrite,
  { maxShardBytes = shardBytes, metadata }: { maxShardBytes?: number; metadata?: Record<string, string> } = {},
): Promise<string[]> {
  const list = tensors instanceof Map ? [...tensors] : Object.entries(tensors as Record<string, TensorToWrite>);
  const shards = intoShards(list, maxShardBytes);
  if (shards.length === 1) {
    await writeSafetensors(join(folder, "model.safetensors"), new Map(shards[0]), metadata);
    return ["model.safetensors"];
  }
  const number = (i: number): string => String(i).padStart(5, "0");
  const files = shards.map((_, i) => `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`);
  for (const [i, shard] of shards.entries()) await writeSafetensors(join(folder, files[i]!), new Map(shard), metadata);
  const index = {
    metadata: { total_size: list.reduce((sum, [, tensor]) => sum + byteLength(tensor), 0) },
    weight_map: Object.fromEntries(shards.flatMap((shard, i) => shard.map(([name]) => [name, files[i]!]))),
  };
  writeFileAtomic(join(folder, "model.safetensors.index.json"), JSON.stringify(index, null, 2) + "\n");
  return [...files, "model.safetensors.index.json"];
}

/** In the order given; a tensor larger than a shard has one to itself. */
function intoShards<T extends readonly [string, TensorInfo]>(list: readonly T[], maxBytes: number): T[][] {
  const shards: T[][] = [[]];
  let bytes = 0;
  for (const item of list) {
    const size = byteLength(item[1]);
    if (bytes > 0 && bytes + size > maxBytes) {
      shards.push([]);
      bytes = 0;
    }
    shards.at(-1)!.push(item);
    bytes += size;
  }
  return shards;
}
