/** safetensors: a length, a JSON header, the tensors' bytes. https://github.com/huggingface/safetensors */
import { DTypeError, ShapeError } from "../device/errors.ts";
import { type Chunk, FileError, writeStreamAtomic } from "./file.ts";
import { readHeader } from "./header.ts";
import { byteLength, bytesPerElement, expectHostTensor, type HostData, type TensorInfo, viewAs } from "./host.ts";
import { type Checkpoint, expectEntry, expectFits, FileSource } from "./source.ts";

/**
 * Opens a safetensors file: only the header is read, tensors when asked for.
 * @throws FileError that names the file, the tensor and what is wrong: cut short, holes, overlaps, a name twice, a dtype that
 *   is not known, offsets that do not fit dtype and shape, bytes after the end
 */
export function openSafetensors(path: string): Checkpoint {
  const source = new FileSource(path);
  const { metadata, entries } = readHeader(source);
  return {
    ...{ path, files: [path], metadata, tied: [] },
    names: () => [...entries.keys()],
    has: (name) => entries.has(name),
    info(name) {
      const { shape, dtype } = expectEntry(path, entries, name);
      return { shape, dtype };
    },
    get(name) {
      const { shape, dtype, offset } = expectEntry(path, entries, name);
      expectFits(path, name, { shape, dtype });
      return { shape, dtype, data: viewAs(source.read(offset, byteLength({ shape, dtype })), dtype) };
    },
    close: () => source.close(),
  };
}

/** A tensor to be written. A function is called when its turn comes, so that one tensor at a time is in memory. */
export interface TensorToWrite extends TensorInfo {
  readonly data: HostData | (() => HostData | Promise<HostData>);
}

export type TensorsToWrite = ReadonlyMap<string, TensorToWrite> | Readonly<Record<string, TensorToWrite>>;

/** What Hugging Face's loaders expect to find. */
const torchFormat = { format: "pt" };

/**
 * Writes a safetensors file whole or not at all, streamed. The order in the file is safetensors' own: wide elements first,
 * which keeps every tensor aligned, then by name; the same tensors give the same bytes.
 * @throws FileError where it cannot be saved, ShapeError or DTypeError where data does not fit its shape and dtype; an older
 *   file of this name is kept
 */
export async function writeSafetensors(
  path: string,
  tensors: TensorsToWrite,
  metadata: Readonly<Record<string, string>> = torchFormat,
): Promise<void> {
  const list = inFileOrder(tensors);
  for (const [name, tensor] of list) {
    if (name === "__metadata__") throw new FileError(path, "a tensor cannot be named __metadata__");
    if (typeof tensor.data !== "function") check(path, name, tensor, tensor.data);
  }
  const header = encodeHeader(list, metadata);
  const needBytes = list.reduce((sum, [, tensor]) => sum + byteLength(tensor), header.length);
  await writeStreamAtomic(path, chunks(path, header, list), { needBytes });
}

type NamedTensor = [name: string, tensor: TensorToWrite];

async function* chunks(path: string, header: Uint8Array, list: readonly NamedTensor[]): AsyncGenerator<Chunk> {
  yield header;
  for (const [name, tensor] of list) {
    const data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
    check(path, name, tensor, data);
    yield data;
  }
}

function check(path: string, name: string, tensor: TensorInfo, data: HostData): void {
  try {
    expectHostTensor(`tensor ${name}`, tensor, data);
  } catch (error) {
    if (error instanceof ShapeError || error instanceof DTypeError) error.message = `${path}: ${error.message}`;
    throw error;
  }
}

function inFileOrder(tensors: TensorsToWrite): NamedTensor[] {
  const list = tensors instanceof Map ? [...tensors] : Object.entries(tensors as Record<string, TensorToWrite>);
  const byName = ([a]: NamedTensor, [b]: NamedTensor): number => (a < b ? -1 : a > b ? 1 : 0);
  return list.sort((a, b) => bytesPerElement(b[1].dtype) - bytesPerElement(a[1].dtype) || byName(a, b));
}

/** The length and the header, padded by spaces so that the first tensor begins at a multiple of 8. */
function encodeHeader(list: readonly NamedTensor[], metadata: Readonly<Record<string, string>>): Uint8Array {
  let at = 0;
  const entries = list.map(([name, { dtype, shape }]) => {
    const begin = at;
    at += byteLength({ dtype, shape });
    return [name, { dtype, shape, data_offsets: [begin, at] }] as const;
  });
  const json = JSON.stringify(Object.fromEntries<object>([["__metadata__", metadata], ...entries]));
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, 8);
  return bytes;
}
