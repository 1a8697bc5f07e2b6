import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openBatches, tokenBytes } from "../../framework/data/batches.ts";
import { tokenizeDataset } from "../../framework/data/tokenize.ts";
import { trainTokenizer } from "../../framework/text/tokenizer.ts";
import type { Row } from "../table.ts";

/** Tokenizing 8 MB of JSONL into shards, 20,000 conversations too, and assembling batches of 32 × 512 from them. */
export default async function bench(): Promise<Row[]> {
  const home = mkdtempSync(join(tmpdir(), "micromind-bench-"));
  try {
    const texts = Array.from(
      { length: 20_000 },
      (_, i) => `Document ${i}: ${"a sentence of some length, 和一点中文。".repeat((i % 13) + 1)}${i * 7919}`,
    );
    const path = join(home, "data.jsonl");
    const content = texts.map((text) => JSON.stringify({ text })).join("\n");
    writeFileSync(path, content);
    const tokenizer = await trainTokenizer(texts.slice(0, 2000), { vocabSize: 1024 });
    const start = performance.now();
    const shards = await tokenizeDataset(path, tokenizer, { cache: join(home, "cache") });
    const tokenizing = performance.now() - start;
    const talks = texts.map((content) => {
      const messages = [content.slice(0, 40), content].map((said, i) => ({
        role: i ? "assistant" : "user",
        content: said,
      }));
      return JSON.stringify({ conversations: messages });
    });
    const talksPath = join(home, "talks.jsonl");
    writeFileSync(talksPath, talks.join("\n"));
    const talksFrom = performance.now();
    (await tokenizeDataset(talksPath, tokenizer, { stage: "conversations", cache: join(home, "cache") })).close();
    const talking = performance.now() - talksFrom;
    const batches = openBatches(shards, { batchSize: 32, seqLen: 512, pad: 0, tokenBytes: tokenBytes(tokenizer) });
    const from = performance.now();
    const count = Math.min(100, batches.perEpoch);
    for (let n = 0; n < count; n++) batches.at(n);
    const each = (performance.now() - from) / count;
    shards.close();
    return [
      { name: "tokenize JSONL", ms: tokenizing, "MB/s": Buffer.byteLength(content) / tokenizing / 1000 },
      { name: "tokenize conversations", ms: talking, "samples/s": talks.length / (talking / 1000) },
      { name: "batch of 32 × 512", ms: each, "Mtokens/s": (32 * 512) / each / 1000 },
    ];
  } finally {
    rmSync(home, { recursive: true });
  }
}
