/** The header of a safetensors file, read with every check that the format asks for. https://github.com/huggingface/safetensors */
import type { FileError } from "./file.ts";
import { byteLength, describeTensor, dtypeNames, type FileDType, isFileDType, type TensorInfo } from "./host.ts";
import type { FileSource } from "./source.ts";

/** Where a tensor's bytes stand in the file. */
export interface Entry extends TensorInfo {
  offset: number;
}

export interface Header {
  metadata: Record<string, string>;
  entries: Map<string, Entry>;
}

/** The format's own limit: a header of more is a damaged length. */
const largestHeader = 100_000_000;

/** @throws FileError that names the file, the tensor and what is wrong */
export function readHeader(source: FileSource): Header {
  if (source.size < 10)
    throw source.error(`is ${source.size} bytes long, too short for safetensors; it may be cut short`);
  const start = source.read(0, 9);
  const length = Number(new DataView(start.buffer).getBigUint64(0, true));
  if (start[8] !== 0x7b) throw source.error("is not a safetensors file: no header follows the first 8 bytes");
  if (length > largestHeader) {
    throw source.error(`its header claims ${length} bytes, safetensors allows 100 MB; the file is damaged`);
  }
  if (8 + length > source.size) {
    throw source.error(`is cut short: its header needs ${8 + length} bytes, the file has ${source.size}`);
  }
  const header = parseHeader(source, source.read(8, length));
  const entries = new Map<string, Entry>();
  for (const [name, value] of Object.entries(header)) {
    if (name !== "__metadata__") entries.set(name, readEntry(source, name, value, 8 + length));
  }
  expectContiguous(source, entries, 8 + length);
  return { metadata: readMetadata(source, header), entries };
}

function parseHeader(source: FileSource, bytes: Uint8Array): Record<string, unknown> {
  let text: string;
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    header = JSON.parse(text);
  } catch (error) {
    throw source.error(`its header is not JSON (${(error as Error).message}); the file is damaged`, error);
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) throw source.error(`its header names ${twice} twice; which one is meant cannot be told`);
  return header as Record<string, unknown>;
}

/** The first key that an object of this valid JSON holds twice; JSON.parse would keep only the last. */
export function duplicateKey(json: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  let last = "";
  for (const [token] of json.matchAll(/"(?:[^"\\]|\\.)*"|[{}[\]:]/g)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (token !== ":") last = token;
    else {
      const key: string = last.includes("\\") ? JSON.parse(last) : last.slice(1, -1);
      if (open.at(-1)?.has(key)) return key;
      open.at(-1)?.add(key);
    }
  }
  return undefined;
}

function readMetadata(source: FileSource, header: Record<string, unknown>): Record<string, string> {
  const metadata = Object.hasOwn(header, "__metadata__") ? header.__metadata__ : {};
  const isText = isObject(metadata) && Object.values(metadata).every((value) => typeof value === "string");
  if (!isText) throw source.error("__metadata__ is not an object of texts");
  return metadata as Record<string, string>;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const areSizes = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);

function readEntry(source: FileSource, name: string, value: unknown, dataStart: number): Entry {
  const fail = (reason: string): FileError => source.error(`tensor ${name}: ${reason}`);
  if (!isObject(value)) throw fail(`is ${JSON.stringify(value)}, expected { dtype, shape, data_offsets }`);
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isFileDType(dtype)) throw fail(`dtype is ${JSON.stringify(dtype)}, expected one of ${dtypeNames()}`);
  if (!areSizes(shape)) throw fail(`shape is ${JSON.stringify(shape)}, expected whole numbers`);
  if (!areSizes(offsets) || offsets.length !== 2) {
    throw fail(`data_offsets is ${JSON.stringify(offsets)}, expected [begin, end]`);
  }
  const [begin, end] = offsets as [number, number];
  const needed = byteLength({ shape, dtype });
  if (end - begin !== needed) {
    const info = describeTensor({ shape, dtype: dtype satisfies FileDType });
    throw fail(`${info} needs ${needed} bytes, but its data_offsets [${begin}, ${end}] hold ${end - begin}`);
  }
  return { shape, dtype, offset: dataStart + begin };
}

/** The tensors fill the file from the header to its end, without holes and overlaps. */
function expectContiguous(source: FileSource, entries: Map<string, Entry>, dataStart: number): void {
  const inOrder = [...entries].sort(([, a], [, b]) => a.offset - b.offset || byteLength(a) - byteLength(b));
  let at = dataStart;
  for (const [name, entry] of inOrder) {
    if (entry.offset !== at) {
      const wrong = entry.offset < at ? "overlaps the tensor before it" : "leaves a hole before it";
      throw source.error(`tensor ${name}: begins at byte ${entry.offset}, expected ${at}: it ${wrong}`);
    }
    at += byteLength(entry);
  }
  if (at > source.size) throw source.error(`is cut short: its tensors end at byte ${at}, the file at ${source.size}`);
  if (at < source.size) throw source.error(`has ${source.size - at} bytes after its last tensor; it is damaged`);
}
