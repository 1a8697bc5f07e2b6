/**
 * Shows training data as a model meets it: samples with the trained tokens coloured, or what a file comes to in tokens.
 *   bun recipes/data.ts --show sft 3                                  three conversations of the shipped corpus
 *   bun recipes/data.ts --show dpo 2 --path dpo.jsonl --tokenizer out/sft
 *   bun recipes/data.ts --stats sft.jsonl --seqLen 340                lengths, truncation, tokens
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { detectStage, documents, type Stage } from "../framework/data/documents.ts";
import { type Encoded, encodeAll } from "../framework/data/encode.ts";
import { DataError, resolveFiles } from "../framework/data/files.ts";
import type { Shards } from "../framework/data/shards.ts";
import { encodingOf } from "../framework/data/tokenize.ts";
import type { Truncate } from "../framework/data/truncate.ts";
import { loadTokenizer, type Tokenizer } from "../framework/index.ts";
import { ConfigError, configure, count, key, main } from "../framework/run/index.ts";
import { tokenized } from "./shared/tokens.ts";

/** What each recipe reads, and the shipped corpus' file for it. */
const stages: Record<string, { stage: Stage; file: string }> = {
  pretrain: { stage: "text", file: "pretrain.jsonl" },
  sft: { stage: "conversations", file: "sft.jsonl" },
  lora: { stage: "conversations", file: "identity.jsonl" },
  dpo: { stage: "preferences", file: "dpo.jsonl" },
  distill: { stage: "conversations", file: "sft.jsonl" },
  reason: { stage: "conversations", file: "reason.jsonl" },
};
const color = process.stdout.isTTY === true && !process.env.NO_COLOR;
const bases = ["out/sft", "out/pretrain"];

const schema = {
  show: key(null, "print samples as this recipe trains on them", { type: "text", choices: Object.keys(stages) }),
  stats: key("", "print lengths, truncation and tokens of this file, folder or glob, of whichever stage"),
  path: key("", "data for --show: a file, folder or glob; empty: the recipe's file of the corpus that ships"),
  tokenizer: key("", `a tokenizer.json or its folder; empty: ${bases.join(" or ")}, the first that is there`),
  seqLen: count(512, "tokens a row; what is longer is truncated", 2),
  truncate: key(null, "what a long conversation loses, where not as the recipe has it", {
    type: "text",
    choices: ["end", "start"],
  }),
};

await main(async () => {
  const config = configure("data", schema, {
    about: "Shows training data as a model meets it.",
    presets: "",
    words: "how many samples --show prints (default 3)",
    examples: [
      "bun recipes/data.ts --show sft 3",
      "bun recipes/data.ts --show dpo 2 --path dpo.jsonl --tokenizer out/sft",
      "bun recipes/data.ts --stats sft.jsonl --seqLen 340",
    ],
  });
  if ((config.show === null) === (config.stats === ""))
    throw new ConfigError("data: expected either --show recipe or --stats path, such as --show sft 3; see --help");
  const options = { seqLen: config.seqLen, truncate: config.truncate as Truncate | null };
  if (config.stats) {
    const files = resolveFiles(config.stats);
    return stats(config.stats, await detectStage(files), openTokenizer(config.tokenizer), options);
  }
  const { stage, file } = stages[config.show as string];
  const path = config.path || join(import.meta.dirname, "corpus", file);
  const most = samplesAsked(config.words);
  await show(resolveFiles(path), stage, most, openTokenizer(config.tokenizer), options);
  if (config.show === "distill") console.log("The teacher teaches the other tokens too (distill.prompts).");
});

interface Options {
  seqLen: number;
  truncate: Truncate | null;
}

function samplesAsked(words: readonly string[]): number {
  const [asked = "3", ...more] = words;
  if (more.length > 0 || !/^[1-9]\d*$/.test(asked))
    throw new ConfigError(
      `data: ${JSON.stringify(words.join(" "))}: expected one whole number, how many samples to show`,
    );
  return Number(asked);
}

function openTokenizer(path: string): Tokenizer {
  const folder = path || bases.find((base) => existsSync(join(base, "tokenizer.json")));
  if (folder === undefined)
    throw new ConfigError(
      `--tokenizer: there is none in ${bases.join(" or ")}; name one, or make it: bun recipes/pretrain.ts, or bun recipes/tokenizer.ts`,
    );
  return loadTokenizer(folder);
}

/** Prints the first samples of files, as they are trained on. */
async function show(
  files: readonly string[],
  stage: Stage,
  most: number,
  tokenizer: Tokenizer,
  { seqLen, truncate }: Options,
): Promise<void> {
  const encoding = encodingOf(tokenizer, { stage, maxLength: seqLen, truncate: truncate ?? undefined });
  let left = most;
  for await (const { text, file, line } of documents(files, { stage })) {
    const where = `${file}:${line}`;
    const encoded = encodeAll(tokenizer, { id: 0, texts: [text], places: [where] }, encoding);
    if (encoded.found.failures.length) throw new DataError(encoded.found.failures[0]);
    console.log(sampleText(where, encoded, tokenizer, stage, seqLen));
    if (--left === 0) break;
  }
  console.log(color ? `${green("green")}: trained on` : "⟦ ⟧: trained on");
}

function sampleText(where: string, encoded: Encoded, tokenizer: Tokenizer, stage: Stage, seqLen: number): string {
  const { tokens, documents: lengths, trained, found } = encoded;
  if (found.untrained) return `${dim(`${where}: no trained token within ${seqLen} tokens, left out`)}\n`;
  const cut = found.truncated ? ", truncated" : "";
  const names = stage === "preferences" ? [" chosen:", " rejected:"] : [""];
  let from = 0;
  const parts = names.map((name, i) => {
    const to = from + lengths[2 * i];
    const ids = tokens.subarray(from, to);
    const mask = trained?.subarray(from, to) ?? new Uint8Array(ids.length).fill(1).fill(0, 0, 1); // nothing predicts the first
    from = to;
    const count = mask.reduce((sum, on) => sum + on, 0);
    return `${dim(`${where}${name} ${ids.length} tokens, ${count} trained on${cut}`)}\n${marked(ids, mask, tokenizer)}\n`;
  });
  return parts.join("\n");
}

function dim(text: string): string {
  return color ? `\x1b[2m${text}\x1b[22m` : text;
}

function green(text: string): string {
  return color ? `\x1b[32m${text}\x1b[39m` : `⟦${text}⟧`;
}

/** Shows what a terminal would act on. */
function harmless(text: string): string {
  return text.replace(/\p{Cc}/gu, (c) => {
    return c === "\n" || c === "\t" ? c : `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

/** Text of tokens, the stretches that are trained on set off. */
function marked(ids: Uint32Array, mask: Uint8Array, tokenizer: Tokenizer): string {
  let text = "";
  for (let from = 0; from < ids.length; ) {
    let to = from + 1;
    while (to < ids.length && mask[to] === mask[from]) to++;
    const part = harmless(tokenizer.decode(ids.subarray(from, to)));
    text += mask[from] ? green(part) : dim(part);
    from = to;
  }
  return text.trimEnd();
}

/** Prints what files come to. */
async function stats(
  path: string,
  { stage, recipe }: { stage: Stage; recipe: string },
  tokenizer: Tokenizer,
  { seqLen, truncate }: Options,
): Promise<void> {
  const whole = await tokenized(path, tokenizer, { stage, onError: "skip" });
  const { info, lengths, tokens } = whole;
  const each = stage === "text" ? "documents" : stage;
  const count = stage === "preferences" ? lengths.length / 2 : lengths.length;
  const trained = stage === "text" ? tokens - lengths.length : trainedTokens(whole);
  const long = lengths.filter((length) => length > seqLen).length;
  const rows: [string, string][] = [
    ["stage", `${stage}, for ${recipe}`],
    ["format", info.format],
    [each, `${number(count)}${stage === "preferences" ? " pairs" : ""}`],
    ["tokens", `${number(tokens)}, ${share(trained, tokens)} of them trained on`],
    ["lengths", lengthsText(lengths)],
    [
      `over ${seqLen}`,
      `${number(long)} (${share(long, lengths.length)})${stage === "text" && long > 0 ? ", which go on in the next row" : ""}`,
    ],
    ["untrained", `${number(info.untrained)} without a token to train on`],
    ["bad lines", `${number(info.skipped)}${info.skipped ? `, such as ${info.skippedExamples[0]}` : ""}`],
  ];
  if (stage !== "text" && long > 0) rows.splice(6, 0, ["truncation", await truncation()]);
  const width = Math.max(...rows.map(([name]) => name.length));
  console.log(`${path}\n${rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join("\n")}\n`);
  console.log(histogram(lengths));
  whole.close();

  /** Truncates as a recipe would, rather than guess. */
  async function truncation(): Promise<string> {
    try {
      const options = { stage, onError: "skip", maxLength: seqLen, truncate: truncate ?? undefined } as const;
      const cut = await tokenized(path, tokenizer, options);
      cut.close();
      const lost = cut.info.untrained - info.untrained;
      return `${number(cut.info.truncated)} cut to ${seqLen}, ${number(lost)} of them left without a token to train on`;
    } catch (error) {
      if (error instanceof DataError) return `cut to ${seqLen}, none keeps a token to train on`;
      throw error;
    }
  }
}

function trainedTokens(shards: Shards): number {
  let sum = 0;
  shards.lengths.forEach((length, document) => {
    const mask = new Uint8Array(length);
    shards.readTrained(document, 0, mask);
    for (const on of mask) sum += on;
  });
  return sum;
}

function number(amount: number): string {
  return amount.toLocaleString("en");
}

function share(part: number, all: number): string {
  return `${((100 * part) / all).toFixed(1)}%`;
}

function lengthsText(lengths: Uint32Array): string {
  const sorted = lengths.slice().sort();
  const at = (part: number) => number(sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]);
  const mean = sorted.reduce((a, b) => a + b, 0) / sorted.length;
  return `mean ${mean.toFixed(0)}, median ${at(0.5)}, 95% up to ${at(0.95)}, longest ${at(1)} tokens`;
}

/** How many documents are of each length, in classes that double. */
function histogram(lengths: Uint32Array): string {
  const counts: number[] = [];
  for (const length of lengths) {
    const index = Math.floor(Math.log2(Math.max(1, length)));
    counts[index] = (counts[index] ?? 0) + 1;
  }
  const most = counts.reduce((a, b) => Math.max(a, b), 0);
  const room = (process.stdout.columns || 80) - 20 - number(most).length; // beside the ranges and the numbers
  const full = Math.min(40, Math.max(10, room));
  const lines = Array.from(counts, (n = 0, i) => {
    const range = `${number(2 ** i)}–${number(2 ** (i + 1) - 1)}`;
    return `${range.padStart(15)}  ${"█".repeat(Math.ceil((n / most) * full)).padEnd(full)}  ${number(n)}`;
  });
  return [`${"tokens".padStart(15)}`, ...lines.slice(counts.findIndex((n) => n > 0))].join("\n");
}
