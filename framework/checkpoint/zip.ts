/**
 * Zip archives read by their directory, an entry's bytes only when asked for, so that one of many gigabytes is never in
 * memory. PKWARE APPNOTE 6.3.10: 4.3.16 end record, 4.3.14 and 4.3.15 its zip64 form, 4.3.12 directory, 4.3.7 local header.
 */
import { crc32 } from "node:zlib";
import { inflateSync } from "fflate";
import type { FileSource } from "./source.ts";

export interface ZipEntry {
  name: string;
  method: number;
  encrypted: boolean;
  crc: number;
  compressed: number;
  /** Bytes of the content. */
  size: number;
  header: number;
}

const signatures = {
  local: 0x04034b50,
  directory: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator: 0x07064b50,
};
const [stored, deflated] = [0, 8];
/** Deflate packs no better than 1032 to 1: an entry that claims more is a bomb. */
const largestRatio = 1032;

/** An archive's entries. Content is checked against its checksum when it is first touched. */
export class ZipFile {
  readonly entries = new Map<string, ZipEntry>();
  readonly #starts = new Map<ZipEntry, number>();

  /** @throws FileError where the directory is missing (a file cut short) or damaged */
  constructor(readonly source: FileSource) {
    const { offset, size, count } = findDirectory(source);
    if (offset + size > source.size) throw damaged(source, "its directory lies beyond the end");
    const bytes = source.read(offset, size);
    const view = new DataView(bytes.buffer);
    for (let at = 0, i = 0; i < count; i++) {
      if (at + 46 > size || view.getUint32(at, true) !== signatures.directory) throw damaged(source, `at entry ${i}`);
      const [entry, next] = readEntry(source, bytes, view, at);
      if (this.entries.has(entry.name)) throw damaged(source, `${entry.name} stands in it twice`);
      this.entries.set(entry.name, entry);
      at = next;
    }
  }

  /** Bytes of an entry from `begin` to `end`, by default all of it. */
  read(entry: ZipEntry, begin = 0, end: number = entry.size): Uint8Array<ArrayBuffer> {
    const start = this.#startOf(entry);
    if (entry.method === stored) return this.source.read(start + begin, end - begin);
    return this.#inflate(entry, start).slice(begin, end);
  }

  /** Where an entry's bytes begin, once they are found to be whole. */
  #startOf(entry: ZipEntry): number {
    const known = this.#starts.get(entry);
    if (known !== undefined) return known;
    const { source } = this;
    const fail = (what: string) => damaged(source, `${entry.name} ${what}`);
    if (entry.encrypted) throw source.error(`${entry.name} is encrypted`);
    if (entry.header + 30 > source.size) throw fail("lies beyond the end");
    const view = new DataView(source.read(entry.header, 30).buffer);
    if (view.getUint32(0, true) !== signatures.local) throw fail("is not where the directory says");
    const start = entry.header + 30 + view.getUint16(26, true) + view.getUint16(28, true);
    if (start + entry.compressed > source.size) throw fail("lies beyond the end");
    let crc = 0;
    if (entry.method !== stored) crc = crc32(this.#inflate(entry, start));
    else for (const piece of source.pieces(start, entry.size)) crc = crc32(piece, crc);
    if (crc !== entry.crc) throw fail("does not match its checksum");
    this.#starts.set(entry, start);
    return start;
  }

  #inflate(entry: ZipEntry, start: number): Uint8Array<ArrayBuffer> {
    const { source } = this;
    if (entry.method !== deflated) throw source.error(`${entry.name} is packed by method ${entry.method}, not deflate`);
    if (entry.size > largestRatio * entry.compressed + 64)
      throw damaged(source, `${entry.name} has an impossible size`);
    try {
      const bytes = inflateSync(source.read(start, entry.compressed), { out: new Uint8Array(entry.size) });
      if (bytes.length !== entry.size) throw new Error(`${bytes.length} bytes, expected ${entry.size}`);
      return bytes as Uint8Array<ArrayBuffer>;
    } catch (error) {
      throw damaged(source, `${entry.name} cannot be unpacked (${(error as Error).message})`);
    }
  }
}

function damaged(source: FileSource, what: string): Error {
  return source.error(`the zip archive is damaged: ${what}; copy or download it again`);
}

/** Safe to 2^53, far above any file's size; a damaged number beyond is caught as lying outside of the file. */
const uint64 = (view: DataView, at: number): number => Number(view.getBigUint64(at, true));

function findDirectory(source: FileSource): { offset: number; size: number; count: number } {
  const length = Math.min(source.size, 22 + 65_535);
  const tail = new DataView(source.read(source.size - length, length).buffer);
  for (let at = length - 22; at >= 0; at--) {
    if (tail.getUint32(at, true) !== signatures.end) continue;
    if (at + 22 + tail.getUint16(at + 20, true) !== length) continue;
    const end = {
      count: tail.getUint16(at + 10, true),
      size: tail.getUint32(at + 12, true),
      offset: tail.getUint32(at + 16, true),
    };
    const isZip64 = end.count === 0xffff || end.size === 0xffffffff || end.offset === 0xffffffff;
    return isZip64 && at >= 20 && tail.getUint32(at - 20, true) === signatures.locator
      ? readEnd64(source, uint64(tail, at - 12))
      : end;
  }
  throw source.error("is a zip archive without its directory, which stands at the end: the file is cut short");
}

function readEnd64(source: FileSource, at: number): { offset: number; size: number; count: number } {
  if (at + 56 > source.size) throw damaged(source, "its zip64 record lies beyond the end");
  const view = new DataView(source.read(at, 56).buffer);
  if (view.getUint32(0, true) !== signatures.end64) throw damaged(source, "its zip64 record is not where it should be");
  return { count: uint64(view, 32), size: uint64(view, 40), offset: uint64(view, 48) };
}

function readEntry(source: FileSource, bytes: Uint8Array, view: DataView, at: number): [ZipEntry, number] {
  const [nameLength, extraLength, noteLength] = [28, 30, 32].map((field) => view.getUint16(at + field, true));
  const extraAt = at + 46 + nameLength!;
  const next = extraAt + extraLength! + noteLength!;
  if (next > bytes.length) throw damaged(source, "its directory is cut short");
  const entry: ZipEntry = {
    name: new TextDecoder().decode(bytes.subarray(at + 46, extraAt)),
    encrypted: (view.getUint16(at + 8, true) & 1) === 1,
    method: view.getUint16(at + 10, true),
    crc: view.getUint32(at + 16, true),
    compressed: view.getUint32(at + 20, true),
    size: view.getUint32(at + 24, true),
    header: view.getUint32(at + 42, true),
  };
  widen(entry, view, extraAt, extraAt + extraLength!);
  if (entry.method === stored && entry.size !== entry.compressed) throw damaged(source, `${entry.name} has two sizes`);
  return [entry, next];
}

/** Takes from the zip64 extra field, in this order, those numbers that 32 bits did not hold. */
function widen(entry: ZipEntry, view: DataView, begin: number, end: number): void {
  for (let at = begin; at + 4 <= end; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    const fieldEnd = Math.min(end, at + 4 + view.getUint16(at + 2, true));
    let field = at + 4;
    for (const key of ["size", "compressed", "header"] as const) {
      if (entry[key] !== 0xffffffff || field + 8 > fieldEnd) continue;
      entry[key] = uint64(view, field);
      field += 8;
    }
  }
}
