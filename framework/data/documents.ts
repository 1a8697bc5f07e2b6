/** Documents out of files, as a stream: no file is ever in memory as a whole. */
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { DataError } from "./files.ts";

export type Stage = "text" | "conversations" | "preferences";

export interface Document {
  /** In stages other than "text" the line as it stands, not yet parsed. */
  text: string;
  file: string;
  /** Line where the document begins, from 1. */
  line: number;
}

export interface ReadOptions {
  /** What the data is for: texts to continue (default), conversations, or pairs of conversations of which one is preferred. */
  stage?: Stage;
  /** What a bad line does: stop with an error, or be counted and left out (default "error"). */
  onError?: "error" | "skip";
  /** Called with each line left out. */
  onSkip?: (error: DataError) => void;
  /** Called with the bytes of file read so far, now and then. */
  onBytes?: (bytes: number) => void;
}

/** A plain text has no lines that end documents: it is cut at the first line's end after this many characters. */
export const TEXT_PIECE = 1 << 14;
const LONGEST_LINE = 1 << 28;

/**
 * Documents of files one after the other: of JSONL a line's `text` each, of plain text pieces of {@link TEXT_PIECE} characters or
 * little more, cut at line ends. Of the other stages' JSONL they are the lines.
 * @throws DataError with file, line and reason: not JSON, no `text`, not UTF-8, a truncated .gz, no document at all
 */
export async function* documents(files: readonly string[], options: ReadOptions = {}): AsyncGenerator<Document> {
  const { stage = "text" } = options;
  let count = 0;
  let bytes = 0;
  for (const file of files) {
    const onBytes = (n: number) => {
      bytes += n;
      options.onBytes?.(bytes);
    };
    const plain = /\.txt(\.gz)?$/.test(file);
    if (plain && stage !== "text")
      throw new DataError(`${file}: is plain text, for ${stages.text.recipe}; ${stage} are read from .jsonl`);
    const read = plain ? textPieces : jsonLines;
    for await (const document of read(file, options, onBytes)) {
      count++;
      yield document;
    }
  }
  if (count === 0) throw new DataError(`${files.join(", ")}: holds no documents`);
}

async function* jsonLines(
  file: string,
  { stage = "text", onError = "error", onSkip }: ReadOptions,
  onBytes: (n: number) => void,
): AsyncGenerator<Document> {
  for await (const { line, bytes } of lines(file, onBytes)) {
    try {
      const source = decode(file, line, bytes).trim();
      if (source !== "") yield { text: stage === "text" ? textOf(`${file}:${line}`, source) : source, file, line };
    } catch (error) {
      if (onError === "error" || !(error instanceof DataError)) throw error;
      onSkip?.(error);
    }
  }
}

/** What each stage's lines look like, who reads them, and the keys by which they are known. */
const stages: Record<Stage, { recipe: string; expected: string; keys: readonly string[] }> = {
  text: { recipe: "recipes/pretrain.ts", expected: '{"text": "..."}', keys: ["text"] },
  preferences: {
    recipe: "recipes/dpo.ts",
    expected: '{"chosen": [messages], "rejected": [messages]}',
    keys: ["chosen", "rejected"],
  },
  conversations: {
    recipe: "recipes/sft.ts",
    expected: '{"conversations": [{"role": "user", "content": "..."}, ...]}',
    keys: ["conversations", "messages", "instruction"],
  },
};

/**
 * The object of a line of JSON.
 * @param where  "file:line", for errors
 * @throws DataError where it is something else
 */
export function parseLine(source: string, where: string, stage: Stage): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (error) {
    throw new DataError(
      `${where}: not JSON (${error instanceof Error ? error.message : error}): ${source.slice(0, 60)}`,
    );
  }
  if (value === null || typeof value !== "object" || Array.isArray(value))
    throw new DataError(`${where}: expected an object ${stages[stage].expected}, found ${source.slice(0, 60)}`);
  return value as Record<string, unknown>;
}

/** The stage that a line's keys belong to; undefined where none knows them. */
const stageOf = (keys: readonly string[]): Stage | undefined =>
  (Object.keys(stages) as Stage[]).find((stage) => stages[stage].keys.some((key) => keys.includes(key)));

/**
 * The stage that files are for, by the first line that is readable; its recipe too.
 * @throws DataError where no stage knows its keys
 */
export async function detectStage(files: readonly string[]): Promise<{ stage: Stage; recipe: string }> {
  const found = (stage: Stage) => ({ stage, recipe: stages[stage].recipe });
  if (/\.txt(\.gz)?$/.test(files[0])) return found("text");
  let bad: unknown;
  for await (const { text, file, line } of documents(files.slice(0, 1), { stage: "conversations" })) {
    try {
      const value = parseLine(text, `${file}:${line}`, "text");
      const stage = stageOf(Object.keys(value));
      if (stage === undefined) throw wrongStage(value, `${file}:${line}`, "text");
      return found(stage);
    } catch (error) {
      bad ??= error;
    }
  }
  throw bad;
}

/** The error for a line without its stage's keys: names the stage it belongs to, where one is known by its keys. */
export function wrongStage(value: object, where: string, stage: Stage): DataError {
  const keys = Object.keys(value);
  const { expected } = stages[stage];
  const other = stageOf(keys);
  if (other && other !== stage) {
    const kind = other === "text" ? "text to pretrain on" : other;
    return new DataError(
      `${where}: holds ${kind}, for ${stages[other].recipe}; ${stages[stage].recipe} reads ${expected}`,
    );
  }
  const missing = stages[stage].keys
    .filter((key) => !keys.includes(key))
    .map((key) => `"${key}"`)
    .join(" or ");
  return new DataError(
    `${where}: found no ${missing} among its keys (${keys.join(", ") || "none"}), expected ${expected}`,
  );
}

function textOf(where: string, source: string): string {
  const value = parseLine(source, where, "text");
  const { text } = value;
  if (typeof text === "string" && text !== "") return text;
  if (text === undefined) throw wrongStage(value, where, "text");
  const found = text === "" ? `an empty "text"` : `"text" as ${typeof text}`;
  throw new DataError(`${where}: found ${found}, expected {"text": "..."}`);
}

async function* textPieces(file: string, _: ReadOptions, onBytes: (n: number) => void): AsyncGenerator<Document> {
  let [piece, start] = ["", 1];
  for await (const { line, bytes } of lines(file, onBytes)) {
    if (piece === "") start = line;
    piece += `${decode(file, line, bytes)}\n`;
    if (piece.length < TEXT_PIECE) continue;
    yield { text: piece, file, line: start };
    piece = "";
  }
  if (piece.trim() !== "") yield { text: piece, file, line: start };
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function decode(file: string, line: number, bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new DataError(`${file}:${line}: not valid UTF-8`);
  }
}

/** The lines of a file as bytes, without their ends (LF or CRLF). */
async function* lines(file: string, onBytes: (n: number) => void): AsyncGenerator<{ line: number; bytes: Uint8Array }> {
  let parts: Uint8Array[] = [];
  let length = 0;
  let line = 1;
  const whole = (last: Uint8Array): Uint8Array => {
    const all = parts.length ? Buffer.concat([...parts, last]) : last;
    parts = [];
    length = 0;
    return all[all.length - 1] === 13 ? all.subarray(0, -1) : all;
  };
  for await (const chunk of chunks(file, onBytes)) {
    let at = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, at)) {
      yield { line: line++, bytes: whole(chunk.subarray(at, end)) };
      at = end + 1;
    }
    parts.push(chunk.slice(at));
    length += chunk.length - at;
    if (length > LONGEST_LINE) throw new DataError(`${file}:${line}: the line is longer than ${LONGEST_LINE >> 20} MB`);
  }
  const last = whole(new Uint8Array(0));
  if (last.length) yield { line, bytes: last };
}

async function* chunks(file: string, onBytes: (n: number) => void): AsyncGenerator<Uint8Array> {
  const source = createReadStream(file, { highWaterMark: 1 << 18 });
  source.on("data", (chunk) => onBytes(chunk.length));
  try {
    if (!file.endsWith(".gz")) yield* source as AsyncIterable<Uint8Array>;
    else yield* source.on("error", () => {}).pipe(createGunzip()) as unknown as AsyncIterable<Uint8Array>;
  } catch (error) {
    throw new DataError(
      `${file}: cannot be read (${error instanceof Error ? error.message : error})${file.endsWith(".gz") ? "; the .gz is truncated or damaged" : ""}`,
    );
  } finally {
    source.destroy();
  }
}
