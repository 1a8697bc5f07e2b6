/** Token batches on their way to the device, as all stages need them. */
import { type Batch, type Batches, openBatches, tokenBytes } from "../../framework/data/batches.ts";
import type { Shards } from "../../framework/data/shards.ts";
import { type TokenizeOptions, type TokenizeProgress, tokenizeDataset } from "../../framework/data/tokenize.ts";
import { noGrad, scope, Tensor, type Tokenizer } from "../../framework/index.ts";
import { progressBar } from "../../framework/run/index.ts";

/** The data's token shards, with a bar where they must be made. */
export const tokenized = (path: string, tokenizer: Tokenizer, options: TokenizeOptions): Promise<Shards> =>
  withTokenizingBar((onProgress) => tokenizeDataset(path, tokenizer, { ...options, onProgress }));

/** How conversations become rows, under the names of the config. */
interface ConversationRows {
  seqLen: number;
  truncate: TokenizeOptions["truncate"];
  valShare: number;
  onError: TokenizeOptions["onError"];
  workers: number | null;
  batchSize: number;
  seed: number;
}

/**
 * Conversations as token shards, and their batches: those to train on, and those held out for the validation loss, where `valShare` keeps
 * any. `rows` is what the batches were opened with.
 */
export async function openConversations(
  path: string,
  tokenizer: Tokenizer,
  { seqLen, truncate, valShare, onError, workers, batchSize, seed }: ConversationRows,
) {
  const shards = await tokenized(path, tokenizer, {
    stage: "conversations",
    maxLength: seqLen,
    truncate,
    onError,
    workers: workers ?? undefined,
  });
  const pad = tokenizer.padTokenId ?? 0;
  const rows = { batchSize, seqLen, heldOut: valShare, seed, pad, tokenBytes: tokenBytes(tokenizer) };
  const batches = openBatches(shards, rows);
  return { shards, rows, batches, held: valShare > 0 ? openBatches(shards, { ...rows, split: "val" }) : undefined };
}

/** Shows how far what `make` tokenizes has come. */
export async function withTokenizingBar<T>(
  make: (onProgress: (progress: TokenizeProgress) => void) => Promise<T>,
): Promise<T> {
  let bar: ReturnType<typeof progressBar> | undefined;
  const made = await make(({ bytes, totalBytes }) => {
    bar ??= progressBar("tokenizing", totalBytes);
    bar.update(bytes);
  });
  bar?.finish();
  return made;
}

/** What was read, with all that was left out or cut. */
export function dataSummary({ tokens, info }: Shards): string {
  const counted = (n: number, what: string) => (n > 0 ? [`${n} ${what}`] : []);
  const [example] = info.skippedExamples;
  return [
    `${info.documents} ${info.stage} (${info.format}), ${tokens} tokens`,
    ...counted(info.truncated, `cut to ${info.maxLength} tokens`),
    ...counted(info.untrained, "left out for lack of a token to train on"),
    ...counted(info.skipped, `bad lines left out, such as ${example}`),
  ].join(", ");
}

/** A batch's arrays on the device, i32 [B, T] each. */
export function upload(batch: Pick<Batch, "tokens" | "labels" | "segments" | "positions">, seqLen: number) {
  const rows = (values: Int32Array) => Tensor.from(values, { shape: [values.length / seqLen, seqLen] });
  const { tokens, labels, segments, positions } = batch;
  return { tokens: rows(tokens), labels: rows(labels), segments: rows(segments), positions: rows(positions) };
}

/**
 * Mean loss of held-out batches, in nats per label and in bits per byte of the labels' text.
 * @param sumOf a batch's loss, summed over its labels
 * @param most  batches to look at
 */
export async function heldOutLoss(
  held: Batches,
  sumOf: (batch: Batch) => Tensor,
  most: number,
): Promise<{ valLoss: number; bitsPerByte: number }> {
  let [nats, labels, bytes] = [0, 0, 0];
  for (let n = 0; n < Math.min(held.perEpoch, most); n++) {
    const batch = held.at(n);
    const sum = noGrad(() => scope(() => sumOf(batch)));
    nats += await sum.item();
    sum.dispose();
    labels += batch.labelled;
    bytes += batch.bytes;
  }
  return { valLoss: nats / labels, bitsPerByte: nats / Math.LN2 / bytes };
}
