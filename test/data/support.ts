import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { SpecialToken } from "../../framework/text/special.ts";
import { loadTokenizer, type Tokenizer, trainTokenizer } from "../../framework/text/tokenizer.ts";

/** A folder for the files of these tests. */
export const home = mkdtempSync(join(tmpdir(), "micromind-data-"));
process.on("exit", () => rmSync(home, { recursive: true, force: true }));
let next = 0;

/** A file of that content in a folder of its own. */
export function file(name: string, content: string | Uint8Array): string {
  const folder = join(home, String(next++));
  mkdirSync(folder);
  writeFileSync(join(folder, name), content);
  return join(folder, name);
}

export const lines = (...values: unknown[]): string => values.map((value) => `${JSON.stringify(value)}\n`).join("");

const texts = Array.from({ length: 60 }, (_, i) => `user assistant system 你好 ${i} the quick brown fox 🚀 ${i * i}.`);
/** Our own tokenizer, with ChatML. */
export const tokenizer = await trainTokenizer(texts, { vocabSize: 360 });

/** A tokenizer with another template, and other special tokens where they are given. */
export async function withTemplate(template: string, specialTokens?: SpecialToken[]): Promise<Tokenizer> {
  const folder = join(home, String(next++));
  (await trainTokenizer(texts, { vocabSize: 360, specialTokens })).save(folder);
  const path = join(folder, "tokenizer_config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as object;
  writeFileSync(path, JSON.stringify({ ...config, chat_template: template }));
  return loadTokenizer(folder);
}
