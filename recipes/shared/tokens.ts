/** Token batches on their way to the device, as all stages need them. */
import type { Batch, Batches } from "../../framework/data/batches.ts";
import type { Shards } from "../../framework/data/shards.ts";
import { type TokenizeOptions, type TokenizeProgress, tokenizeDataset } from "../../framework/data/tokenize.ts";
import { noGrad, scope, Tensor, type Tokenizer } from "../../framework/index.ts";
import { progressBar } from "../../framework/run/index.ts";

/** The data's token shards, with a bar where they must be made. */
export async function tokenized(path: string, tokenizer: Tokenizer, options: TokenizeOptions): Promise<Shards> {
  let bar: ReturnType<typeof progressBar> | undefined;
  const onProgress = ({ bytes, totalBytes }: TokenizeProgress) => {
    bar ??= progressBar("tokenizing", totalBytes);
    bar.update(bytes);
  };
  const shards = await tokenizeDataset(path, tokenizer, { ...options, onProgress });
  bar?.finish();
  return shards;
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
