import { type Chunk, FileError, writeStreamAtomic } from "./file.ts";
import {
  aligned,
  defaultAlignment,
  encodeGgml,
  type GgmlType,
  ggmlBytes,
  ggmlTypes,
  magic,
  type ValueType,
  valueTypes,
  version,
} from "./ggufTypes.ts";
import { sizeOf } from "./host.ts";

/** A typed value of a GGUF's metadata; of the lists only those that tokenizers need. */
export type GgufValue =
  | readonly ["u32" | "i32" | "f32", number]
  | readonly ["bool", boolean]
  | readonly ["string", string]
  | readonly ["strings", readonly string[]]
  | readonly ["i32s", readonly number[]];

/** A tensor to be written: its shape row by row (the file keeps it turned round), and its numbers when its turn comes. */
export interface GgufTensor {
  readonly shape: readonly number[];
  readonly type: GgmlType;
  readonly data: () => Float32Array<ArrayBuffer>;
}

/**
 * Writes a GGUF file (version 3) whole or not at all, a tensor at a time in memory.
 * @throws FileError where it cannot be saved, where rows of a Q8_0 tensor are no multiple of 32, or a number is too large for F16
 */
export async function writeGguf(
  path: string,
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: ReadonlyMap<string, GgufTensor>,
): Promise<void> {
  for (const [name, { shape, type }] of tensors)
    if ((shape.at(-1) ?? 1) % ggmlTypes[type].block !== 0)
      throw new FileError(path, `tensor ${name}: rows of ${shape.at(-1)} do not divide into ${type}'s blocks of 32`);
  const header = encodeHeader(metadata, tensors);
  const sizes = [...tensors.values()].map(({ shape, type }) => aligned(ggmlBytes(type, sizeOf(shape)), 32));
  const needBytes = sizes.reduce((sum, size) => sum + size, header.length);
  await writeStreamAtomic(path, chunks(header, tensors), { needBytes });
}

async function* chunks(header: Uint8Array, tensors: ReadonlyMap<string, GgufTensor>): AsyncGenerator<Chunk> {
  yield header;
  for (const { type, data } of tensors.values()) {
    const bytes = encodeGgml(data(), type);
    yield bytes;
    const rest = aligned(bytes.byteLength, defaultAlignment) - bytes.byteLength;
    if (rest > 0) yield new Uint8Array(rest);
  }
}

function encodeHeader(
  metadata: ReadonlyMap<string, GgufValue>,
  tensors: ReadonlyMap<string, GgufTensor>,
): Uint8Array<ArrayBuffer> {
  const to = new Bytes();
  to.u32(magic).u32(version).u64(tensors.size).u64(metadata.size);
  for (const [key, value] of metadata) writeValue(to.string(key), value);
  let offset = 0;
  for (const [name, { shape, type }] of tensors) {
    to.string(name).u32(shape.length);
    for (const length of shape.toReversed()) to.u64(length);
    to.u32(ggmlTypes[type].id).u64(offset);
    offset = aligned(offset + ggmlBytes(type, sizeOf(shape)), defaultAlignment);
  }
  return to.take(aligned(to.length, defaultAlignment));
}

function writeValue(to: Bytes, [type, value]: GgufValue): void {
  if (type === "strings") {
    to.list("string", value.length);
    for (const text of value) to.string(text);
  } else if (type === "i32s") {
    to.list("i32", value.length);
    for (const number of value) to.u32(number);
  } else {
    to.u32(valueTypes[type]);
    if (type === "string") to.string(value);
    else if (type === "bool") to.u8(Number(value));
    else if (type === "f32") to.f32(value);
    else to.u32(value);
  }
}

/** Little-endian numbers and texts one behind the other, in a buffer that grows. */
class Bytes {
  length = 0;
  #bytes = new Uint8Array(1 << 16);
  #view = new DataView(this.#bytes.buffer);

  u8(value: number): this {
    const at = this.#reserve(1); // before the view is taken: it may be replaced
    this.#view.setUint8(at, value);
    return this;
  }

  u32(value: number): this {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
    return this;
  }

  f32(value: number): this {
    const at = this.#reserve(4);
    this.#view.setFloat32(at, value, true);
    return this;
  }

  u64(value: number): this {
    const at = this.#reserve(8);
    this.#view.setBigUint64(at, BigInt(value), true);
    return this;
  }

  string(value: string): this {
    const text = Buffer.from(value, "utf8");
    this.u64(text.length);
    const at = this.#reserve(text.length);
    this.#bytes.set(text, at);
    return this;
  }

  list(type: ValueType, length: number): this {
    return this.u32(valueTypes.array).u32(valueTypes[type]).u64(length);
  }

  /** What was written, zeros behind it up to `length`. */
  take(length: number): Uint8Array<ArrayBuffer> {
    this.#reserve(length - this.length);
    return this.#bytes.slice(0, length);
  }

  #reserve(bytes: number): number {
    const at = this.length;
    this.length += bytes;
    if (this.length > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}
