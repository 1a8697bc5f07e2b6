/** Pairs of replies to one prompt, of which one is preferred, as batches. */
import type { Tokenizer } from "../text/tokenizer.ts";
import { IGNORED } from "./batches.ts";
import { shuffled } from "./rows.ts";
import type { ShardInfo, Shards } from "./shards.ts";
import { type TokenizeOptions, tokenizeDataset } from "./tokenize.ts";

export interface PreferenceOptions extends Omit<TokenizeOptions, "stage" | "maxLength" | "special"> {
  /** Pairs of a batch. */
  batchSize: number;
  /** Tokens a row; what a longer pair loses is `truncate`'s choice (default "start"). */
  seqLen: number;
  /** Of the shuffle. */
  seed?: number;
}

/** Rows are padded behind their end, which causal attention does not see: no segments are needed. */
export interface PreferenceBatch {
  /** [2 · batchSize, seqLen]: the chosen rows, then the rejected ones in the same order. */
  tokens: Int32Array<ArrayBuffer>;
  /** The next token where it belongs to the reply, the end token included; −100 elsewhere. */
  labels: Int32Array<ArrayBuffer>;
  /** [batchSize]: which pair of the file each row is, from 0 (bad and untrained lines do not count); −1 on a row that stays empty. */
  pairs: Int32Array<ArrayBuffer>;
  /** Labels that count. */
  labelled: number;
}

export interface Preferences {
  readonly pairs: number;
  /** Batches that hold every pair; of `inOrder` the last may have empty rows. */
  readonly perEpoch: number;
  /** Pairs of which a part is kept. */
  readonly truncated: number;
  /** Names the content: the same pairs, tokenizer and options give the same. */
  readonly key: string;
  readonly info: ShardInfo;
  /** Batch number `n` (from 0) of all epochs, each shuffled anew; always full, so that one may hold the end of an epoch and the next's beginning. */
  at(n: number): PreferenceBatch;
  /** Batch number `n` of one pass in the file's order, for precomputing and evaluation. */
  inOrder(n: number): PreferenceBatch;
  close(): void;
}

/**
 * Opens `{"chosen", "rejected"}` for training; see `parsePreference` for the forms that are read. Kept as token shards in the cache.
 * @throws DataError with file and line for what cannot be read, prompts that differ, data of another stage; where no pair is left
 */
export async function openPreferences(
  path: string,
  tokenizer: Tokenizer,
  { batchSize, seqLen, seed = 0, ...options }: PreferenceOptions,
): Promise<Preferences> {
  const shards = await tokenizeDataset(path, tokenizer, { ...options, stage: "preferences", maxLength: seqLen });
  const pairs = shards.lengths.length / 2;
  const all = Uint32Array.from({ length: pairs }, (_, i) => i);
  let current: { epoch: number; order: Uint32Array } = { epoch: -1, order: all };
  const pairAt = (place: number): number => {
    const epoch = Math.floor(place / pairs);
    if (current.epoch !== epoch) current = { epoch, order: shuffled(all, seed, epoch) };
    return current.order[place % pairs];
  };
  const batchOf = (pair: (row: number) => number): PreferenceBatch => {
    const rows = Int32Array.from({ length: batchSize }, (_, row) => pair(row));
    return makeBatch(shards, rows, seqLen, tokenizer.padTokenId ?? 0);
  };
  return {
    pairs,
    perEpoch: Math.ceil(pairs / batchSize),
    truncated: shards.info.truncated,
    key: shards.key,
    info: shards.info,
    at: (n) => batchOf((row) => pairAt(n * batchSize + row)),
    inOrder: (n) => batchOf((row) => (n * batchSize + row < pairs ? n * batchSize + row : -1)),
    close: () => shards.close(),
  };
}

function makeBatch(shards: Shards, pairs: Int32Array<ArrayBuffer>, seqLen: number, pad: number): PreferenceBatch {
  const size = 2 * pairs.length * seqLen;
  const [tokens, labels] = [new Int32Array(size).fill(pad), new Int32Array(size).fill(IGNORED)];
  let labelled = 0;
  pairs.forEach((pair, row) => {
    if (pair < 0) return;
    for (const side of [0, 1]) {
      const document = 2 * pair + side;
      const ids = new Int32Array(shards.lengths[document]);
      const trained = new Uint8Array(ids.length);
      shards.read(document, 0, ids);
      shards.readTrained(document, 0, trained);
      const at = (side * pairs.length + row) * seqLen;
      tokens.set(ids, at);
      for (let i = 1; i < ids.length; i++) {
        if (!trained[i]) continue;
        labels[at + i - 1] = ids[i];
        labelled++;
      }
    }
  });
  return { tokens, labels, pairs, labelled };
}
