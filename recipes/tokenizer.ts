/**
 * Trains a byte-level BPE tokenizer and writes Hugging Face's tokenizer.json. Sennrich et al. 2015, arXiv:1508.07909; Radford et al. 2019 (GPT-2).
 *   bun recipes/tokenizer.ts --data.path corpus.jsonl --vocabSize 6400
 */
import { join } from "node:path";
import { documents } from "../framework/data/documents.ts";
import { resolveFiles } from "../framework/data/files.ts";
import { type Tokenizer, trainTokenizer } from "../framework/index.ts";
import { configure, count, key, main, progressBar } from "../framework/run/index.ts";

const schema = {
  data: {
    path: key("", 'JSONL of {"text"}, plain text, .gz of either, a folder or a glob; empty: the corpus that ships'),
    onError: key("error", "what a bad line does", { choices: ["error", "skip"] }),
  },
  vocabSize: count(6400, "tokens in all: special ones, 256 bytes, and merges", 300),
  maxBytes: key(2 ** 30, "text that is read at most, in bytes of the files", { min: 1, whole: true }),
  out: key("out/tokenizer", "folder for tokenizer.json and tokenizer_config.json; those that are there are replaced"),
};

await main(async () => {
  const config = configure("tokenizer", schema, {
    about: "Trains a byte-level BPE tokenizer on text.",
    presets: "",
    examples: [
      "bun recipes/tokenizer.ts --data.path corpus.jsonl --vocabSize 6400",
      'bun recipes/tokenizer.ts --data.path "texts/*.txt.gz" --out out/mine',
    ],
  });
  const files = resolveFiles(config.data.path || join(import.meta.dirname, "corpus/pretrain.jsonl"));
  const sample: string[] = [];
  let [skipped, texts] = [0, 0];

  async function* stream(): AsyncGenerator<string> {
    let read = 0;
    const options = { onError: config.data.onError, onSkip: () => skipped++, onBytes: (n: number) => (read = n) };
    for await (const { text } of documents(files, options)) {
      texts++;
      if (sample.length < 1000) sample.push(text);
      yield text;
      if (read > config.maxBytes) return;
    }
  }

  const reading = progressBar("reading", 0);
  let merging: ReturnType<typeof progressBar> | undefined;
  const tokenizer = await trainTokenizer(stream(), {
    vocabSize: config.vocabSize,
    onProgress: (p) => {
      if (p.stage === "read") return reading.update(p.bytes);
      if (!merging) reading.finish();
      merging ??= progressBar("merging", p.total, { unit: "merges" });
      merging.update(p.done, p.total);
    },
  });
  merging?.finish();
  tokenizer.save(config.out);
  console.log(report(tokenizer, sample, texts, skipped));
  console.log(`${config.out}: tokenizer.json, tokenizer_config.json`);
  console.log(`next: bun recipes/pretrain.ts --tokenizer.path ${config.out}`);
});

/** How well it packs the first texts, and how it cuts one. */
function report(tokenizer: Tokenizer, sample: readonly string[], texts: number, skipped: number): string {
  const encoded = sample.map((text) => tokenizer.encode(text));
  const bytes = sample.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  const tokens = encoded.reduce((sum, ids) => sum + ids.length, 0);
  const cut = encoded[0].slice(0, 24).map((id) => tokenizer.decode([id]));
  return [
    `${tokenizer.vocabSize} tokens from ${texts} texts${skipped ? `, ${skipped} bad lines left out` : ""}`,
    `${(bytes / tokens).toFixed(2)} bytes a token over the first ${sample.length} texts`,
    `the first begins: ${cut.join("│").replaceAll("\n", "⏎")}`,
  ].join("\n");
}
