/** Documents out of files, as a stream: no file is ever in memory as a whole. */
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { DataError } from "./files.ts";

export interface Document {
  text: string;
  file: string;
  /** Line where the document begins, from 1. */
  line: number;
}

export interface ReadOptions {
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
 * little more, cut at line ends.
 * @throws DataError with file, line and reason: not JSON, no `text`, not UTF-8, a truncated .gz, no document at all
 */
export async function* documents(files: readonly string[], options: ReadOptions = {}): AsyncGenerator<Document> {
  let count = 0;
  let bytes = 0;
  for (const file of files) {
    const onBytes = (n: number) => {
      bytes += n;
      options.onBytes?.(bytes);
    };
    const read = /\.txt(\.gz)?$/.test(file) ? textPieces : jsonLines;
    for await (const document of read(file, options, onBytes)) {
      count++;
      yield document;
    }
  }
  if (count === 0) throw new DataError(`${files.join(", ")}: holds no documents`);
}

async function* jsonLines(
  file: string,
  { onError = "error", onSkip }: ReadOptions,
  onBytes: (n: number) => void,
): AsyncGenerator<Document> {
  for await (const { line, bytes } of lines(file, onBytes)) {
    try {
      const source = decode(file, line, bytes).trim();
      if (source !== "") yield { text: textOf(file, line, source), file, line };
    } catch (error) {
      if (onError === "error" || !(error instanceof DataError)) throw error;
      onSkip?.(error);
    }
  }
}

/** What other stages' data looks like, and who reads it. */
const otherStages: Record<string, string> = {
  conversations: "conversations, for recipes/sft.ts",
  messages: "conversations, for recipes/sft.ts",
  instruction: "instructions, for recipes/sft.ts",
  chosen: "preferences, for recipes/dpo.ts",
};

function textOf(file: string, line: number, source: string): string {
  let value: unknown;
  try {
    value = JSON.parse(source);
  } catch (error) {
    throw new DataError(
      `${file}:${line}: not JSON (${error instanceof Error ? error.message : error}): ${source.slice(0, 60)}`,
    );
  }
  if (value === null || typeof value !== "object" || Array.isArray(value))
    throw new DataError(`${file}:${line}: expected an object {"text": "..."}, found ${source.slice(0, 60)}`);
  const { text } = value as { text?: unknown };
  if (typeof text === "string" && text !== "") return text;
  const keys = Object.keys(value);
  const other = keys.find((key) => otherStages[key]);
  if (text === undefined && other)
    throw new DataError(`${file}:${line}: holds ${otherStages[other]}; pretraining reads {"text": "..."}`);
  const found =
    text === undefined
      ? `no "text" among its keys (${keys.join(", ") || "none"})`
      : text === ""
        ? `an empty "text"`
        : `"text" as ${typeof text}`;
  throw new DataError(`${file}:${line}: found ${found}, expected {"text": "..."}`);
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
