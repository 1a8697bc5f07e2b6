/**
 * Zip archives written entry by entry, uncompressed, each with its checksum before its bytes, so that an entry at a time is in memory.
 * PKWARE APPNOTE 6.3.10: 4.3.7 local header, 4.3.12 directory, 4.3.14 to 4.3.16 end records.
 */
import { crc32 } from "node:zlib";
import type { Chunk } from "./file.ts";

export interface ZipContent {
  name: string;
  bytes: Uint8Array;
}

/** Where `torch.save` lets every entry's bytes begin, so that they can be mapped into memory. */
const alignment = 64;
const [version, version64] = [20, 45];
/** What a field of 32 bits holds when the number stands in zip64's field. */
const elsewhere = 0xffffffff;
/** 1 January 2000: the same content gives the same bytes. */
const date = (20 << 9) | (1 << 5) | 1;

/** @throws RangeError where an entry has 4 GiB or more; whatever `contents` throws passes through */
export async function* zipStream(contents: AsyncIterable<ZipContent>): AsyncGenerator<Chunk> {
  const directory: Uint8Array[] = [];
  let at = 0;
  for await (const { name, bytes } of contents) {
    if (bytes.length >= elsewhere)
      throw new RangeError(`zip: ${name} has ${bytes.length} bytes, 4 GiB at most are written`);
    const text = Buffer.from(name, "utf8");
    const fields = { crc: crc32(bytes), size: bytes.length, text };
    // The extra field that fills up begins with a tag and its length, 4 bytes.
    const fill = (alignment - ((at + 30 + text.length + 4) % alignment)) % alignment;
    const header = localHeader(fields, 4 + fill);
    directory.push(directoryEntry(fields, at));
    yield header;
    yield bytes;
    at += header.length + bytes.length;
  }
  yield* directory;
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  yield end({ count: directory.length, size, at });
}

interface Fields {
  crc: number;
  size: number;
  text: Uint8Array;
}

function localHeader({ crc, size, text }: Fields, extra: number): Uint8Array {
  const bytes = new Uint8Array(30 + text.length + extra);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x04034b50, true);
  view.setUint16(4, version, true);
  view.setUint16(12, date, true);
  view.setUint32(14, crc, true);
  view.setUint32(18, size, true);
  view.setUint32(22, size, true);
  view.setUint16(26, text.length, true);
  view.setUint16(28, extra, true);
  bytes.set(text, 30);
  bytes.set([0x46, 0x42], 30 + text.length); // "FB", torch's tag for padding
  view.setUint16(32 + text.length, extra - 4, true);
  return bytes;
}

function directoryEntry({ crc, size, text }: Fields, at: number): Uint8Array {
  const far = at >= elsewhere;
  const bytes = new Uint8Array(46 + text.length + (far ? 12 : 0));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x02014b50, true);
  view.setUint16(4, far ? version64 : version, true);
  view.setUint16(6, far ? version64 : version, true);
  view.setUint16(14, date, true);
  view.setUint32(16, crc, true);
  view.setUint32(20, size, true);
  view.setUint32(24, size, true);
  view.setUint16(28, text.length, true);
  view.setUint16(30, far ? 12 : 0, true);
  view.setUint32(42, far ? elsewhere : at, true);
  bytes.set(text, 46);
  if (far) {
    view.setUint16(46 + text.length, 1, true);
    view.setUint16(48 + text.length, 8, true);
    view.setBigUint64(50 + text.length, BigInt(at), true);
  }
  return bytes;
}

/** The end record, and where it cannot hold a number zip64's before it. */
function end({ count, size, at }: { count: number; size: number; at: number }): Uint8Array {
  const large = at >= elsewhere || size >= elsewhere || count >= 0xffff;
  const bytes = new Uint8Array((large ? 56 + 20 : 0) + 22);
  const view = new DataView(bytes.buffer);
  if (large) {
    view.setUint32(0, 0x06064b50, true);
    view.setBigUint64(4, 44n, true);
    view.setUint16(12, version64, true);
    view.setUint16(14, version64, true);
    for (const [place, value] of [
      [24, count],
      [32, count],
      [40, size],
      [48, at],
    ] as const)
      view.setBigUint64(place, BigInt(value), true);
    view.setUint32(56, 0x07064b50, true);
    view.setBigUint64(64, BigInt(at + size), true);
    view.setUint32(72, 1, true);
  }
  const last = bytes.length - 22;
  view.setUint32(last, 0x06054b50, true);
  view.setUint16(last + 8, large ? 0xffff : count, true);
  view.setUint16(last + 10, large ? 0xffff : count, true);
  view.setUint32(last + 12, large ? elsewhere : size, true);
  view.setUint32(last + 16, large ? elsewhere : at, true);
  return bytes;
}
