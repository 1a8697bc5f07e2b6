/** Token shards on disk: `tokens-N.bin` (u16 or u32), `documents.bin` (length and hash of each document), `info.json`. */
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { DataError } from "./files.ts";

export interface ShardInfo {
  bytesPerToken: 2 | 4;
  /** Tokens of each file. */
  shards: number[];
  documents: number;
  files: string[];
  /** Lines left out by `onError: "skip"`, and what was wrong with the first of them. */
  skipped: number;
  skippedExamples: string[];
}

/** An open dataset. */
export interface Shards {
  readonly folder: string;
  /** Names the content: the same texts, tokenizer and options give the same. */
  readonly key: string;
  readonly info: ShardInfo;
  readonly tokens: number;
  /** Tokens of each document. */
  readonly lengths: Uint32Array;
  readonly hashes: Uint32Array;
  /** Reads tokens `from` to `from + out.length` of one document. */
  read(document: number, from: number, out: Int32Array): void;
  close(): void;
}

/** @throws DataError where files are missing or shorter than `info.json` says */
export function openShards(folder: string): Shards {
  const info = JSON.parse(readFileSync(join(folder, "info.json"), "utf8")) as ShardInfo;
  const index = readFileSync(join(folder, "documents.bin"));
  const pairs = new Uint32Array(index.buffer.slice(index.byteOffset, index.byteOffset + index.byteLength));
  const files = info.shards.map((count, i) => {
    const path = join(folder, `tokens-${i}.bin`);
    if (statSync(path).size !== count * info.bytesPerToken)
      throw new DataError(`${path}: is damaged; delete ${folder} to make it anew`);
    return openSync(path, "r");
  });
  if (pairs.length !== 2 * info.documents)
    throw new DataError(`${folder}/documents.bin: is damaged; delete ${folder} to make it anew`);
  const lengths = pairs.filter((_, i) => i % 2 === 0);
  const places = placeDocuments(lengths, info.shards);
  return {
    folder,
    key: basename(folder),
    info,
    tokens: info.shards.reduce((a, b) => a + b, 0),
    lengths,
    hashes: pairs.filter((_, i) => i % 2 === 1),
    read(document, from, out) {
      const bytes = info.bytesPerToken;
      const raw = bytes === 2 ? new Uint16Array(out.length) : new Uint32Array(out.length);
      const into = new Uint8Array(raw.buffer);
      const start = (places.starts[document] + from) * bytes;
      for (let at = 0; at < into.length; ) {
        const got = readSync(files[places.shards[document]], into, at, into.length - at, start + at);
        if (got === 0)
          throw new DataError(`${folder}: document ${document} ends early; delete the folder to make it anew`);
        at += got;
      }
      out.set(raw);
    },
    close: () => files.forEach(closeSync),
  };
}

/** The file and the first token of each document. */
function placeDocuments(
  lengths: Uint32Array,
  shards: readonly number[],
): { shards: Uint8Array | Uint16Array; starts: Float64Array } {
  const starts = new Float64Array(lengths.length);
  const owner = new Uint16Array(lengths.length);
  let [shard, at] = [0, 0];
  lengths.forEach((length, i) => {
    if (at === shards[shard]) [shard, at] = [shard + 1, 0];
    starts[i] = at;
    owner[i] = shard;
    at += length;
  });
  return { shards: owner, starts };
}
