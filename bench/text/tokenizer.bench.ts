/**
 * Speed of the tokenizer on one core: training to 6,400 tokens, encoding, decoding.
 * The corpus is real text beside the repository where there is any, otherwise Chinese and English made up of syllables.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer, trainTokenizer } from "../../framework/text/tokenizer.ts";

export interface Row {
  name: string;
  ms: number;
  mbPerSecond: number;
  note?: string;
}

const megabytes = 10;

/** Texts of a JSONL line, whatever its format. */
function textsOf(value: unknown): string[] {
  if (typeof value === "string") return [value];
  if (typeof value !== "object" || value === null) return [];
  return Object.values(value).flatMap(textsOf);
}

function realTexts(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const content = readFileSync(join(folder, name), "utf8");
    if (name.endsWith(".txt")) return content.split(/(?<=\n\n)/);
    if (!name.endsWith(".jsonl")) return [];
    return content.split("\n").flatMap((line) => (line === "" ? [] : textsOf(JSON.parse(line))));
  });
}

/** A corpus with words of Zipf-like frequency; deterministic. */
function madeUpTexts(bytes: number): string[] {
  let state = 1;
  const below = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const often = (n: number): number => Math.floor(n ** (below(1 << 16) / 65536)) - 1;
  const word = (): string =>
    Array.from({ length: 1 + below(4) }, () => "aeiou"[often(5)]! + "ntrslkmdp"[often(9)]!).join("");
  const words = Array.from({ length: 20_000 }, word);
  const texts: string[] = [];
  for (let size = 0; size < bytes; ) {
    const english = Array.from({ length: 60 }, () => words[often(words.length)]!).join(" ");
    const chinese = Array.from({ length: 120 }, (_, i) =>
      i % 15 === 14 ? "，" : String.fromCharCode(0x4e00 + often(3000)),
    ).join("");
    texts.push(english, chinese);
    size += english.length + chinese.length * 3;
  }
  return texts;
}

/** Ten megabytes, repeated where the source is shorter; the distinct texts by themselves; `note` says what they are. */
function corpus(): { texts: string[]; distinct: string[]; note: string } {
  const folder = join(import.meta.dirname, "../../../shared/data");
  const source = existsSync(folder) ? realTexts(folder) : madeUpTexts(megabytes * 1e6);
  const texts: string[] = [];
  for (let i = 0, bytes = 0; bytes < megabytes * 1e6; i++) {
    texts.push(source[i % source.length]!);
    bytes += Buffer.byteLength(texts.at(-1)!);
  }
  const distinct = source.slice(0, texts.length);
  const kind = existsSync(folder) ? "real" : "made-up";
  return { texts, distinct, note: `${kind} text, ${(bytesOf(distinct) / 1e6).toFixed(1)} MB of it distinct` };
}

const bytesOf = (texts: string[]): number => texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);

/** Qwen's splitting pattern, which runs as a regular expression; GPT-2's, ours and MiniMind's, is written by hand. */
const qwenSplit = {
  type: "Split",
  pattern: {
    Regex: String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
  },
  behavior: "Isolated",
  invert: false,
};

/** Runs every measurement once, in a few seconds. */
export default async function run(): Promise<Row[]> {
  const { texts, distinct, note } = corpus();
  const rows: Row[] = [];
  const time = async <T>(name: string, bytes: number, work: () => T | Promise<T>, note?: string): Promise<T> => {
    const start = performance.now();
    const result = await work();
    const ms = performance.now() - start;
    rows.push({ name, ms, mbPerSecond: bytes / 1e3 / ms, ...(note === undefined ? {} : { note }) });
    return result;
  };
  const encodeAll = (tokenizer: Tokenizer, some: string[]): Uint32Array[] =>
    some.map((text) => tokenizer.encodeIds(text));
  const [all, once] = [bytesOf(texts), bytesOf(distinct)];

  const tokenizer = await time("tokenizer train 6400", all, () => trainTokenizer(texts, { vocabSize: 6400 }), note);
  const ids = await time(
    "tokenizer encode",
    once,
    () => encodeAll(tokenizer, distinct),
    "first sight, distinct text only",
  );
  await time("tokenizer encode again", once, () => encodeAll(tokenizer, distinct), "pieces remembered");
  await time("tokenizer decode", once, () => ids.map((some) => tokenizer.decode(some)));
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  const qwen = { type: "Sequence", pretokenizers: [qwenSplit, byteLevel] };
  const other = new Tokenizer({ ...tokenizer.toJSON(), pre_tokenizer: qwen, normalizer: { type: "NFC" } });
  await time("tokenizer encode, Qwen split", once, () => encodeAll(other, distinct), "first sight");
  return rows;
}

if (import.meta.main) console.table(await run());
