/** One door for every kind of checkpoint. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { FileError, readingError } from "./file.ts";
import { openGguf } from "./gguf.ts";
import { openPth } from "./pth.ts";
import { openSafetensors } from "./safetensors.ts";
import { openShards } from "./shards.ts";
import { type Checkpoint, FileSource, readJsonObject } from "./source.ts";

/**
 * A checkpoint with the `config.json` that lies in its folder, where there is one; failing that, `config.jsonc`, which in a
 * run's folder is the run's own, with the model's sizes under `model`.
 */
export interface CheckpointWithConfig extends Checkpoint {
  readonly config?: Readonly<Record<string, unknown>>;
}

/**
 * Opens a checkpoint; tensors are read when asked for.
 * @param path a `.safetensors`, GGUF or PyTorch file (told apart by what they hold, not by their names), a `*.index.json`, or a
 *   folder, in which stands, looked for in this order: `model.safetensors`, `model.safetensors.index.json`,
 *   `pytorch_model.bin`, `pytorch_model.bin.index.json`, a single `*.safetensors`, a single `*.pth`, `*.pt` or `*.bin`, a single `*.gguf`
 * @throws FileError where there is none, several, or it cannot be read
 */
export function openCheckpoint(path: string): CheckpointWithConfig {
  const isFolder = isDirectory(path);
  const file = isFolder ? findInFolder(path) : path;
  const checkpoint = openFile(file);
  const configs = ["config.json", "config.jsonc"].map((name) => join(isFolder ? path : dirname(path), name));
  const configFile = configs.find((name) => existsSync(name));
  const config = configFile === undefined ? {} : { config: readJsonObject(configFile) };
  return { ...checkpoint, path, ...config };
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch (error) {
    throw readingError(path, error);
  }
}

function openFile(path: string): Checkpoint {
  if (path.endsWith(".index.json")) return openShards(path, openFile);
  const source = new FileSource(path);
  const start = source.read(0, Math.min(source.size, 9));
  if (Buffer.from(start).toString("latin1", 0, 4) === "GGUF") return openGguf(path);
  const hasHeader = start[8] === 0x7b; // safetensors: a length of 8 bytes, then "{"
  return hasHeader || path.endsWith(".safetensors") ? openSafetensors(path) : openPth(path);
}

const wellKnown = [
  "model.safetensors",
  "model.safetensors.index.json",
  "pytorch_model.bin",
  "pytorch_model.bin.index.json",
];
const endings = [/\.safetensors$/, /\.(pth|pt|bin)$/, /\.gguf$/];

function findInFolder(folder: string): string {
  const names = readdirSync(folder).filter((name) => !name.startsWith("."));
  const known = wellKnown.find((name) => names.includes(name));
  if (known !== undefined) return join(folder, known);
  for (const ending of endings) {
    const found = names.filter((name) => ending.test(name)).sort();
    if (found.length === 1) return join(folder, found[0]!);
    if (found.length > 1) {
      throw new FileError(folder, `holds several checkpoints (${found.join(", ")}); name the file that is meant`);
    }
  }
  const what = "model.safetensors, model.safetensors.index.json, pytorch_model.bin or one *.pth";
  throw new FileError(folder, `holds no checkpoint, expected ${what}`);
}
