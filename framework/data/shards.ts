/**
 * Token shards on disk: `tokens-N.bin` (u16 or u32), `trained-N.bin` (a byte a token, where not all are trained on), `documents.bin`
 * (length and hash of each document), `info.json`.
 */
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import type { Stage } from "./documents.ts";
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
  stage: Stage;
  /** Longest document in tokens; undefined: as long as they come. */
  maxLength?: number;
  /** Documents (in pairs: pairs) that were longer, of which a part is kept. */
  truncated: number;
  /** Documents (pairs) left out because no token of what is kept is trained on. */
  untrained: number;
  /** What the lines look like, as "sharegpt", or with counts as "alpaca (7), messages (2)". */
  format: string;
}

/** What shards say that were made before there were stages. */
const textInfo = { stage: "text", truncated: 0, untrained: 0, format: "text" } as const;

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
  /** The same for whether each token is trained on: 1 or 0. */
  readTrained(document: number, from: number, out: Uint8Array): void;
  close(): void;
}

const damaged = (folder: string, name: string, cause?: unknown) =>
  new DataError(`${join(folder, name)}: is damaged; delete ${folder} to make it anew`, { cause });

function readInfo(folder: string): ShardInfo {
  const text = readFileSync(join(folder, "info.json"), "utf8");
  try {
    return JSON.parse(text) as ShardInfo;
  } catch (cause) {
    throw damaged(folder, "info.json", cause);
  }
}

/** @throws DataError where files are missing or shorter than `info.json` says */
export function openShards(folder: string): Shards {
  const info = { ...textInfo, ...readInfo(folder) };
  const index = readFileSync(join(folder, "documents.bin"));
  const pairs = new Uint32Array(index.buffer.slice(index.byteOffset, index.byteOffset + index.byteLength));
  const open = (name: string, bytes: number) =>
    info.shards.map((count, i) => {
      const file = `${name}-${i}.bin`;
      if (statSync(join(folder, file)).size !== count * bytes) throw damaged(folder, file);
      return openSync(join(folder, file), "r");
    });
  const files = open("tokens", info.bytesPerToken);
  const masks = info.stage === "text" ? [] : open("trained", 1);
  if (pairs.length !== 2 * info.documents) throw damaged(folder, "documents.bin");
  const lengths = pairs.filter((_, i) => i % 2 === 0);
  const places = placeDocuments(lengths, info.shards);
  const fill = (into: Uint8Array, file: number, start: number, document: number) => {
    for (let at = 0; at < into.length; ) {
      const got = readSync(file, into, at, into.length - at, start + at);
      if (got === 0)
        throw new DataError(`${folder}: document ${document} ends early; delete the folder to make it anew`);
      at += got;
    }
  };
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
      const start = (places.starts[document] + from) * bytes;
      fill(new Uint8Array(raw.buffer), files[places.shards[document]], start, document);
      out.set(raw);
    },
    readTrained(document, from, out) {
      if (masks.length === 0) out.fill(1);
      else fill(out, masks[places.shards[document]], places.starts[document] + from, document);
    },
    close: () => [...files, ...masks].forEach(closeSync),
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
