/** Batches out of shards: rows of tokens with their labels, documents and positions. */
import { setImmediate } from "node:timers";
import type { Tokenizer } from "../text/tokenizer.ts";
import { DataError } from "./files.ts";
import { packedRows, paddedRows, type Rows, shuffled, splitDocuments, wholeRows } from "./rows.ts";
import type { Shards } from "./shards.ts";

/** All [batchSize · seqLen], row by row. */
export interface Batch {
  tokens: Int32Array<ArrayBuffer>;
  /** The next token of the same document; −100 at its end, on padding, and where that token is not trained on. */
  labels: Int32Array<ArrayBuffer>;
  /** The document within the row, from 0; padding is a document of its own. */
  segments: Int32Array<ArrayBuffer>;
  /** Within the document's stretch of this row, from 0. */
  positions: Int32Array<ArrayBuffer>;
  /** Bytes of text that the labels stand for. */
  bytes: number;
  /** Labels that count. */
  labelled: number;
}

export interface BatchOptions {
  batchSize: number;
  seqLen: number;
  /** Fills rows with documents end to end, with conversations as many as fit whole (default); or gives each a row, padded. */
  packing?: boolean;
  seed?: number;
  split?: "train" | "val";
  /** Share of the documents held out for validation. */
  heldOut?: number;
  /** What padding holds. */
  pad: number;
  /** Bytes of text that each token stands for; see {@link tokenBytes}. */
  tokenBytes: Uint16Array;
}

export interface Batches {
  readonly documents: number;
  readonly perEpoch: number;
  readonly batchSize: number;
  readonly seqLen: number;
  /** Batch number `n` (from 0) of all epochs; training data is shuffled anew for each. `into` is a used batch whose arrays may be filled. */
  at(n: number, into?: Batch): Batch;
}

/** The label of what is not trained on. */
export const IGNORED = -100;

/** @throws DataError where the split holds no document with a token to predict, or documents may be longer than rows that must hold them whole */
export function openBatches(shards: Shards, options: BatchOptions): Batches {
  const { batchSize, seqLen, packing = true, seed = 0, split = "train", heldOut = 0.01 } = options;
  const chosen = splitDocuments(shards.hashes, heldOut)[split].filter((document) => shards.lengths[document] > 1);
  if (chosen.length === 0)
    throw new DataError(
      `${shards.info.files.join(", ")}: holds no ${split === "val" ? "different documents to hold out for validation; hold out none (a share of 0), or bring more" : "documents of two tokens or more"}`,
    );
  const { stage, maxLength } = shards.info;
  if (stage !== "text" && !(maxLength !== undefined && maxLength <= seqLen))
    throw new DataError(
      `openBatches: ${stage} of ${maxLength === undefined ? "any number of" : `up to ${maxLength}`} tokens do not fit rows of ${seqLen}; tokenize them with maxLength ${seqLen}`,
    );
  const rowsOf = (order: Uint32Array, epoch = -1): Rows => {
    if (!packing) return paddedRows(shards, order, seqLen);
    if (stage === "text") return packedRows(shards, order, seqLen);
    return wholeRows(shards, order, seqLen, epoch < 0 ? undefined : (rows) => shuffled(rows, seed, epoch));
  };
  let current: { epoch: number; rows: Rows } = { epoch: -1, rows: rowsOf(chosen) };
  const { count } = current.rows;
  const perEpoch = split === "train" ? Math.max(1, Math.floor(count / batchSize)) : Math.ceil(count / batchSize);
  const rows = (epoch: number): Rows => {
    if (split === "val") return current.rows;
    if (current.epoch !== epoch) current = { epoch, rows: rowsOf(shuffled(chosen, seed, epoch), epoch) };
    return current.rows;
  };
  return {
    documents: chosen.length,
    perEpoch,
    batchSize,
    seqLen,
    at(n, into) {
      const own = rows(Math.floor(n / perEpoch));
      const first = (n % perEpoch) * batchSize;
      const batch = emptied(into ?? newBatch(batchSize * seqLen), options.pad);
      for (let r = 0; r < batchSize && first + r < own.count; r++)
        fillRow(batch, r * seqLen, seqLen, own.pieces(first + r), shards);
      for (const label of batch.labels) {
        if (label === IGNORED) continue;
        batch.bytes += options.tokenBytes[label];
        batch.labelled++;
      }
      return batch;
    },
  };
}

function newBatch(size: number): Batch {
  const [tokens, labels, segments, positions] = Array.from({ length: 4 }, () => new Int32Array(size));
  return { tokens, labels, segments, positions, bytes: 0, labelled: 0 };
}

function emptied(batch: Batch, pad: number): Batch {
  batch.tokens.fill(pad);
  batch.labels.fill(IGNORED);
  batch.segments.fill(0);
  batch.positions.fill(0);
  batch.bytes = 0;
  batch.labelled = 0;
  return batch;
}

/** What moves with a batch from one thread to another. */
export const buffersOf = ({ tokens, labels, segments, positions }: Batch): ArrayBuffer[] =>
  [tokens, labels, segments, positions].map((array) => array.buffer);

function fillRow(
  batch: Batch,
  start: number,
  seqLen: number,
  pieces: ReturnType<Rows["pieces"]>,
  shards: Shards,
): void {
  let at = start;
  pieces.forEach(({ document, from, length }, segment) => {
    const more = from + length < shards.lengths[document] ? 1 : 0; // the label of the piece's last token
    const ids = new Int32Array(length + more);
    shards.read(document, from, ids);
    batch.tokens.set(ids.subarray(0, length), at);
    batch.labels.set(ids.subarray(1), at);
    if (shards.info.stage !== "text") ignoreUntrained(batch.labels, at, shards, document, from + 1, ids.length - 1);
    for (let i = 0; i < length; i++) {
      batch.segments[at + i] = segment;
      batch.positions[at + i] = i;
    }
    at += length;
  });
  batch.segments.fill(pieces.length, at, start + seqLen);
  for (let i = at; i < start + seqLen; i++) batch.positions[i] = i - at;
}

function ignoreUntrained(
  labels: Int32Array,
  at: number,
  shards: Shards,
  document: number,
  from: number,
  length: number,
): void {
  const trained = new Uint8Array(length);
  shards.readTrained(document, from, trained);
  for (let i = 0; i < length; i++) if (!trained[i]) labels[at + i] = IGNORED;
}

/** The bytes of text that each id stands for; special tokens stand for none. */
export function tokenBytes(tokenizer: Tokenizer): Uint16Array {
  const special = new Set(tokenizer.addedTokens.filter((t) => t.special).map((t) => t.id));
  return Uint16Array.from({ length: tokenizer.vocabSize }, (_, id) =>
    special.has(id) ? 0 : (tokenizer.tokenBytes(id)?.length ?? 0),
  );
}

/** Batches from number `from` on, without end, each assembled while the device works on the one before. */
export async function* batchesFrom(batches: Batches, from: number): AsyncGenerator<Batch> {
  let next = Promise.resolve(batches.at(from));
  for (let n = from + 1; ; n++) {
    const batch = await next;
    next = later(() => batches.at(n));
    yield batch;
  }
}

/** Runs `work` as soon as whoever awaits something else lets go of the thread. */
function later<T>(work: () => T): Promise<T> {
  const done = new Promise<T>((resolve, reject) => {
    setImmediate(() => {
      try {
        resolve(work());
      } catch (error) {
        reject(error);
      }
    });
  });
  done.catch(() => {}); // thrown where it is awaited
  return done;
}
