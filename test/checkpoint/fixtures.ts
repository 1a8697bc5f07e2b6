/** Files of PyTorch's kind put together by hand: a pickle assembler of a few opcodes and a zip around it. */
import { zipSync } from "fflate";

const text = new TextEncoder();
const concat = (parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));
const op = (code: string, ...rest: Uint8Array[]): Uint8Array => concat([text.encode(code), ...rest]);
const u32 = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);

/** A Python value as pickle opcodes that leave it on the stack. */
export type Pickled = Uint8Array;

export const str = (value: string): Pickled => op("X", u32(text.encode(value).length), text.encode(value));
export const int = (value: number): Pickled => op("J", u32(value));
export const global = (module: string, name: string): Pickled => op("c", text.encode(`${module}\n${name}\n`));
export const tuple = (...items: Pickled[]): Pickled => op("(", ...items, text.encode("t"));
export const list = (...items: Pickled[]): Pickled => op("(", ...items, text.encode("l"));
export const call = (callable: Pickled, ...args: Pickled[]): Pickled =>
  concat([callable, tuple(...args), text.encode("R")]);
export const build = (object: Pickled, state: Pickled): Pickled => concat([object, state, text.encode("b")]);
export const dict = (entries: Record<string, Pickled>): Pickled =>
  op("}(", ...Object.entries(entries).flatMap(([key, value]) => [str(key), value]), text.encode("u"));
export const ordered = (entries: Record<string, Pickled>): Pickled =>
  concat([
    call(global("collections", "OrderedDict")),
    op("(", ...Object.entries(entries).flatMap(([key, value]) => [str(key), value]), text.encode("u")),
  ]);

/** Protocol 2, as torch.save writes. */
export const pickle = (value: Pickled): Uint8Array => concat([Uint8Array.of(0x80, 2), value, text.encode(".")]);

export function storage(kind: string, key: string, size: number): Pickled {
  return concat([tuple(str("storage"), global("torch", kind), str(key), str("cpu"), int(size)), text.encode("Q")]);
}

export function tensor(from: Pickled, shape: number[], strides: number[], offset = 0): Pickled {
  const sizes = [shape, strides].map((list) => tuple(...list.map(int)));
  const hooks = call(global("collections", "OrderedDict"));
  const requiresGrad = Uint8Array.of(0x89); // False
  return call(global("torch._utils", "_rebuild_tensor_v2"), from, int(offset), ...sizes, requiresGrad, hooks);
}

/** A `.pth` from a pickle and the bytes of its storages. */
export function archive(
  value: Pickled,
  storages: Record<string, ArrayBufferView> = {},
  { more = {}, level = 0 }: { more?: Record<string, string>; level?: 0 | 6 } = {},
): Uint8Array {
  const files: Record<string, Uint8Array> = { "archive/data.pkl": pickle(value) };
  for (const [key, { buffer, byteOffset, byteLength }] of Object.entries(storages)) {
    files[`archive/data/${key}`] = new Uint8Array(buffer, byteOffset, byteLength);
  }
  for (const [name, content] of Object.entries(more)) files[`archive/${name}`] = text.encode(content);
  return zipSync(files, { level, mtime: "2000-01-01" });
}

/** A safetensors file of a header, as text or as JSON, and bytes. */
export function safetensors(header: unknown, data: Uint8Array | number = 0): Uint8Array {
  const json = text.encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = typeof data === "number" ? new Uint8Array(data) : data;
  const length = new Uint8Array(new BigUint64Array([BigInt(json.length)]).buffer);
  return concat([length, json, bytes]);
}

/** The same zip with every size and place in zip64's fields, as in an archive of more than 4 GiB. */
export function toZip64(zip: Uint8Array): Uint8Array {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  const end = zip.length - 22;
  const [count, start] = [view.getUint16(end + 10, true), view.getUint32(end + 16, true)];
  const records: Uint8Array[] = [];
  for (let at = start; at < end; ) {
    const nameLength = view.getUint16(at + 28, true);
    const record = Uint8Array.from(zip.subarray(at, at + 46 + nameLength));
    const fields = [24, 20, 42].map((field) => BigInt(view.getUint32(at + field, true)));
    for (const field of [24, 20, 42]) record.fill(0xff, field, field + 4);
    record.set([28, 0, 0, 0], 30); // 28 bytes of extra field, no note
    const extra = new Uint8Array(new Uint16Array([1, 24]).buffer);
    records.push(record, extra, new Uint8Array(BigUint64Array.from(fields).buffer));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  const directory = concat(records);
  const end64 = new DataView(new ArrayBuffer(56 + 20));
  end64.setUint32(0, 0x06064b50, true);
  [count, count, directory.length, start].forEach((value, i) => {
    end64.setBigUint64(24 + 8 * i, BigInt(value), true);
  });
  end64.setUint32(56, 0x07064b50, true);
  end64.setBigUint64(64, BigInt(start + directory.length), true);
  const tail = Uint8Array.from(zip.subarray(end)).fill(0xff, 8, 20);
  return concat([zip.subarray(0, start), directory, new Uint8Array(end64.buffer), tail]);
}
