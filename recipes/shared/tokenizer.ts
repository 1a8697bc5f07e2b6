/** The tokenizer of a run: the one that is named, the run's own when it goes on, or one trained on its data. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { documents } from "../../framework/data/documents.ts";
import { resolveFiles } from "../../framework/data/files.ts";
import { loadTokenizer, type Tokenizer, trainTokenizer } from "../../framework/index.ts";
import { progressBar } from "../../framework/run/live.ts";

/** Characters of text that a tokenizer is trained on at most: more changes little and takes longer. */
const ENOUGH = 1 << 24;

export async function prepareTokenizer(
  options: { path: string; vocabSize: number },
  data: { path: string; onError: "error" | "skip" },
  resumedFrom?: string,
): Promise<Tokenizer> {
  if (resumedFrom && existsSync(join(resumedFrom, "tokenizer.json"))) return loadTokenizer(resumedFrom);
  if (options.path) return loadTokenizer(options.path);
  const bar = progressBar("training the tokenizer", options.vocabSize, { unit: "merges" });
  const tokenizer = await trainTokenizer(someTexts(data), {
    vocabSize: options.vocabSize,
    onProgress: (p) => p.stage === "merge" && bar.update(p.done, p.total),
  });
  bar.finish();
  return tokenizer;
}

async function* someTexts({ path, onError }: { path: string; onError: "error" | "skip" }): AsyncGenerator<string> {
  let length = 0;
  for await (const { text } of documents(resolveFiles(path), { onError })) {
    yield text;
    length += text.length;
    if (length > ENOUGH) return;
  }
}
