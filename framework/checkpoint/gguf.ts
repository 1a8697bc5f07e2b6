import { FileError } from "./file.ts";
import {
  aligned,
  decodeGgml,
  defaultAlignment,
  type GgmlType,
  ggmlBytes,
  ggmlTypes,
  magic,
  type ValueType,
  valueTypes,
} from "./ggufTypes.ts";
import { type HostTensor, sizeOf } from "./host.ts";
import { type Checkpoint, expectEntry, expectFits, FileSource } from "./source.ts";

/** A value of a GGUF's metadata; integers of 64 bits as numbers. */
export type GgufMeta = number | boolean | string | GgufMeta[];

/** A GGUF file: tensors come out in f32 under the file's own names, row by row. */
export interface GgufCheckpoint extends Checkpoint {
  readonly values: ReadonlyMap<string, GgufMeta>;
  /** How a tensor is kept. */
  typeOf(name: string): GgmlType;
  /** The `index`-th part of a tensor along its first axis, without reading the others: an expert's matrix. */
  part(name: string, index: number): HostTensor;
}

interface Entry {
  shape: number[];
  type: GgmlType;
  offset: number;
}

const typeById = new Map(Object.entries(ggmlTypes).map(([name, { id }]) => [id as number, name as GgmlType]));
const kindById = new Map(Object.entries(valueTypes).map(([name, id]) => [id as number, name as ValueType]));

/**
 * Opens a GGUF file, version 2 or 3: only its header is read, tensors when asked for.
 * @throws FileError that says what is wrong: cut short, damaged, another version, a quantization other than Q8_0
 */
export function openGguf(path: string): GgufCheckpoint {
  const source = new FileSource(path);
  const { values, entries } = readHeader(source);
  const read = (name: string, { shape, type, offset }: Entry, index = 0): HostTensor => {
    expectFits(path, name, { shape, dtype: "F32" });
    const bytes = ggmlBytes(type, sizeOf(shape));
    return { shape, dtype: "F32", data: decodeGgml(source.read(offset + index * bytes, bytes), type) };
  };
  return {
    ...{ path, files: [path], metadata: {}, tied: [], values },
    names: () => [...entries.keys()],
    has: (name) => entries.has(name),
    info: (name) => ({ shape: expectEntry(path, entries, name).shape, dtype: "F32" }),
    get: (name) => read(name, expectEntry(path, entries, name)),
    typeOf: (name) => expectEntry(path, entries, name).type,
    part(name, index) {
      const { shape, type, offset } = expectEntry(path, entries, name);
      if (!(index >= 0 && index < shape[0]!))
        throw new FileError(path, `tensor ${name} has ${shape[0]} parts, not a part ${index}`);
      return read(name, { shape: shape.slice(1), type, offset }, index);
    },
    close: () => source.close(),
  };
}

function readHeader(source: FileSource): { values: Map<string, GgufMeta>; entries: Map<string, Entry> } {
  const from = new Cursor(source);
  if (from.number("u32") !== magic) throw source.error("is not a GGUF file: it does not begin with GGUF");
  const version = from.number("u32");
  if (version !== 2 && version !== 3)
    throw source.error(`is GGUF of version ${version}, expected 2 or 3 (little-endian)`);
  const [tensors, keys] = [from.count(), from.count()];
  const values = new Map<string, GgufMeta>();
  for (let i = 0; i < keys; i++) values.set(from.string(), from.value(kindOf(source, from.number("u32"))));
  const list = Array.from({ length: tensors }, () => readEntry(source, from));
  const alignment = Number(values.get("general.alignment") ?? defaultAlignment);
  if (!(Number.isInteger(alignment) && alignment > 0 && alignment % 8 === 0))
    throw source.error(`general.alignment is ${alignment}, expected a multiple of 8`);
  const start = aligned(from.at, alignment);
  const entries = new Map<string, Entry>();
  for (const [name, entry] of list) {
    if (entries.has(name)) throw source.error(`names tensor ${name} twice`);
    const offset = start + entry.offset;
    const end = offset + ggmlBytes(entry.type, sizeOf(entry.shape));
    if (entry.offset % alignment !== 0) throw source.error(`tensor ${name}: begins off the alignment of ${alignment}`);
    if (!(end <= source.size))
      throw source.error(`is cut short: tensor ${name} ends at byte ${end}, the file at ${source.size}`);
    entries.set(name, { ...entry, offset });
  }
  return { values, entries };
}

function readEntry(source: FileSource, from: Cursor): [string, Entry] {
  const name = from.string();
  const axes = from.number("u32");
  if (axes > 4) throw source.error(`tensor ${name}: has ${axes} axes, expected 4 at most; the file is damaged`);
  const shape = Array.from({ length: axes }, () => from.count(2 ** 48)).reverse();
  const id = from.number("u32");
  const offset = from.count(2 ** 52);
  const type = typeById.get(id);
  if (type === undefined) {
    const known = Object.keys(ggmlTypes).join(", ");
    throw source.error(`tensor ${name}: is quantized as ggml's type ${id}, which is not read; ${known} are`);
  }
  if ((shape.at(-1) ?? 1) % ggmlTypes[type].block !== 0)
    throw source.error(`tensor ${name}: rows of ${shape.at(-1)} do not divide into ${type}'s blocks`);
  return [name, { shape, type, offset }];
}

function kindOf(source: FileSource, id: number): ValueType {
  const kind = kindById.get(id);
  if (kind === undefined) throw source.error(`has a value of the unknown type ${id}; the file is damaged`);
  return kind;
}

const widths = { u8: 1, i8: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, bool: 1, u64: 8, i64: 8, f64: 8 } as const;
type Scalar = Exclude<keyof typeof widths, "bool">;

/** Reads a header from its beginning on, a megabyte at a time. */
class Cursor {
  at = 0;
  #window = new DataView(new ArrayBuffer(0));
  #start = 0;

  constructor(readonly source: FileSource) {}

  number(type: Scalar): number {
    const [view, at] = this.#need(widths[type]);
    if (type === "u8") return view.getUint8(at);
    if (type === "i8") return view.getInt8(at);
    if (type === "u16") return view.getUint16(at, true);
    if (type === "i16") return view.getInt16(at, true);
    if (type === "u32") return view.getUint32(at, true);
    if (type === "i32") return view.getInt32(at, true);
    if (type === "f32") return view.getFloat32(at, true);
    if (type === "f64") return view.getFloat64(at, true);
    return Number(type === "u64" ? view.getBigUint64(at, true) : view.getBigInt64(at, true));
  }

  /** A length: of what follows in this file, so no more than it has bytes. */
  count(most = this.source.size): number {
    const value = this.number("u64");
    if (value > most) throw this.source.error(`claims a length of ${value}; the file is damaged or cut short`);
    return value;
  }

  string(): string {
    const length = this.count();
    const [view, at] = this.#need(length);
    return Buffer.from(view.buffer, view.byteOffset + at, length).toString("utf8");
  }

  value(kind: ValueType): GgufMeta {
    if (kind === "string") return this.string();
    if (kind === "bool") return this.number("u8") !== 0;
    if (kind !== "array") return this.number(kind);
    const inner = kindOf(this.source, this.number("u32"));
    if (inner === "array") throw this.source.error("has a list of lists, which is not read");
    return Array.from({ length: this.count() }, () => this.value(inner));
  }

  /** A view that holds the next bytes, and where they begin in it. */
  #need(bytes: number): [DataView, number] {
    const { source } = this;
    if (this.at + bytes > source.size)
      throw source.error(`is cut short: its header goes on past the end, byte ${source.size}`);
    if (this.at + bytes > this.#start + this.#window.byteLength) {
      const length = Math.min(Math.max(bytes, 1 << 20), source.size - this.at);
      this.#window = new DataView(source.read(this.at, length).buffer);
      this.#start = this.at;
    }
    const offset = this.at - this.#start;
    this.at += bytes;
    return [this.#window, offset];
  }
}
