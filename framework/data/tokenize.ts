/** Text to token shards on disk, once: worker threads encode, the main thread reads and writes in order. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { codeOf, FileError, replaceFolderAtomic, writeFileAtomic } from "../checkpoint/file.ts";
import { cacheFolder } from "../device/cache.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { documents, type ReadOptions } from "./documents.ts";
import { type Encoded, type Encoding, encodeAll, type Job, nothingFound } from "./encode.ts";
import { DataError, resolveFiles } from "./files.ts";
import { openShards, type ShardInfo, type Shards } from "./shards.ts";
import { ShardWriter } from "./shardWriter.ts";
import type { Truncate } from "./truncate.ts";

export interface TokenizeProgress {
  bytes: number;
  totalBytes: number;
  documents: number;
  tokens: number;
}

export interface TokenizeOptions extends Pick<ReadOptions, "onError" | "stage"> {
  /** Where shards are kept (default `.cache/micromind`, or `MICROMIND_CACHE`). */
  cache?: string;
  /** Of text: sets bos before and eos behind each document, where the tokenizer has them (default true). */
  special?: boolean;
  /** Of conversations and preferences: the most tokens that one may have (default: any number). */
  maxLength?: number;
  /** What a longer one loses (default "end" for conversations, "start" for preferences). See `truncate.ts`. */
  truncate?: Truncate;
  /** Threads that encode; 0 encodes on this one (default: one less than the cores, and 0 for small data). */
  workers?: number;
  onProgress?: (progress: TokenizeProgress) => void;
}

const VERSION = 1;
const JOB = 1 << 19; // characters a job
const SMALL = 1 << 21; // bytes that need no threads

/**
 * The token shards of a dataset, made now or found in the cache. The cache knows them by the files' content, the tokenizer and the
 * options; a run that is killed leaves nothing there that counts.
 * @throws DataError for the data (see `documents`), FileError where the cache cannot be written
 */
export async function tokenizeDataset(
  path: string,
  tokenizer: Tokenizer,
  options: TokenizeOptions = {},
): Promise<Shards> {
  const files = resolveFiles(path);
  const cache = options.cache ?? cacheFolder();
  prepareFolder(join(cache, "hashes"));
  const contents = await Promise.all(files.map((file) => contentHash(file, cache)));
  const { onError = "error", special = true } = options;
  const encoding = encodingOf(tokenizer, options);
  const plain = files.map((f) => /\.txt(\.gz)?$/.test(f));
  const staged = encoding.stage === "text" ? [special] : [encoding, tokenizer.chatTemplate];
  const key = createHash("sha256").update(
    JSON.stringify([VERSION, tokenizer.hash(), contents, plain, onError, ...staged]),
  );
  const folder = join(cache, `tokens-${key.digest("hex").slice(0, 24)}`);
  if (!existsSync(join(folder, "info.json")))
    await replaceFolderAtomic(folder, (temporary) => build(files, tokenizer, temporary, encoding, options));
  return openShards(folder);
}

function prepareFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : `${cause}`;
    const reason = `cannot be made, where tokens are kept (${why}); name another folder: MICROMIND_CACHE`;
    throw new FileError(folder, reason, codeOf(cause), { cause });
  }
}

/** How a dataset is encoded where options say no more. */
export function encodingOf(
  tokenizer: Tokenizer,
  { stage = "text", special = true, maxLength = Number.POSITIVE_INFINITY, truncate }: TokenizeOptions,
): Encoding {
  if (stage !== "text") return { stage, maxLength, truncate: truncate ?? (stage === "preferences" ? "start" : "end") };
  const { bosTokenId: bos, eosTokenId: eos } = tokenizer;
  return special ? { stage, bos, eos } : { stage, bos: undefined, eos: undefined };
}

/** The sha-256 of a file; remembered for as long as its size and time of change stay. */
async function contentHash(file: string, cache: string): Promise<string> {
  const { size, mtimeMs } = statSync(file);
  const name = createHash("sha256")
    .update(`${resolve(file)} ${size} ${mtimeMs}`)
    .digest("hex")
    .slice(0, 24);
  const memo = join(cache, "hashes", name);
  if (existsSync(memo)) return readFileSync(memo, "utf8");
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  const hex = hash.digest("hex");
  writeFileAtomic(memo, hex);
  return hex;
}

async function build(
  files: readonly string[],
  tokenizer: Tokenizer,
  folder: string,
  encoding: Encoding,
  options: TokenizeOptions,
): Promise<void> {
  const totalBytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  const progress: TokenizeProgress = { bytes: 0, totalBytes, documents: 0, tokens: 0 };
  const found = nothingFound();
  const skipped: string[] = [];
  let skips = 0;
  const onSkip = (error: DataError) => {
    if (options.onError !== "skip") throw error;
    skips++;
    if (skipped.length < 20) skipped.push(error.message);
  };
  const reading: ReadOptions = {
    stage: encoding.stage,
    onError: options.onError,
    onSkip,
    onBytes: (bytes) => {
      progress.bytes = bytes;
    },
  };
  const small = totalBytes < SMALL;
  const workers = options.workers ?? (small ? 0 : Math.max(1, Math.min(8, availableParallelism() - 1)));
  const writer = new ShardWriter(folder, tokenizer.vocabSize, encoding.stage !== "text");
  try {
    for await (const encoded of encodeJobs(jobs(files, reading), tokenizer, encoding, workers, folder)) {
      for (const failure of encoded.found.failures) onSkip(new DataError(failure));
      found.truncated += encoded.found.truncated;
      found.untrained += encoded.found.untrained;
      for (const [format, n] of Object.entries(encoded.found.formats))
        found.formats[format] = (found.formats[format] ?? 0) + n;
      writer.add(encoded);
      progress.documents += encoded.documents.length / 2;
      progress.tokens += encoded.tokens.length;
      options.onProgress?.({ ...progress });
    }
  } finally {
    writer.close();
  }
  const { truncated, untrained } = found;
  if (progress.documents === 0) throw nothingToTrain(files, encoding, untrained, skipped);
  const info: ShardInfo = {
    ...writer.info(),
    files: files.map((f) => resolve(f)),
    skipped: skips,
    skippedExamples: skipped,
    stage: encoding.stage,
    ...(encoding.stage !== "text" && Number.isFinite(encoding.maxLength) ? { maxLength: encoding.maxLength } : {}),
    truncated,
    untrained,
    format: formatText(found.formats),
  };
  writeFileSync(join(folder, "info.json"), JSON.stringify(info, null, 2));
}

function nothingToTrain(
  files: readonly string[],
  encoding: Encoding,
  untrained: number,
  skipped: readonly string[],
): DataError {
  const name = files.join(", ");
  if (untrained === 0) return new DataError(`${name}: every line is bad, such as ${skipped[0]}`);
  const within =
    encoding.stage !== "text" && Number.isFinite(encoding.maxLength) ? ` within ${encoding.maxLength} tokens` : "";
  return new DataError(
    `${name}: none of ${untrained} ${encoding.stage} has a token of the assistant's to train on${within}`,
  );
}

/** The formats, the most frequent first, with counts where there are several. */
function formatText(formats: Record<string, number>): string {
  const sorted = Object.entries(formats).sort(([, a], [, b]) => b - a);
  if (sorted.length <= 1) return sorted[0]?.[0] ?? "text";
  return sorted.map(([format, n]) => `${format} (${n})`).join(", ");
}

async function* jobs(files: readonly string[], reading: ReadOptions): AsyncGenerator<Job> {
  let [texts, places]: string[][] = [[], []];
  let size = 0;
  let id = 0;
  for await (const { text, file, line } of documents(files, reading)) {
    texts.push(text);
    places.push(`${file}:${line}`);
    size += text.length;
    if (size < JOB) continue;
    yield { id: id++, texts, places };
    [texts, places, size] = [[], [], 0];
  }
  if (texts.length) yield { id, texts, places };
}

/** Jobs encoded by so many workers, given out in the jobs' order whoever is first. */
async function* encodeJobs(
  source: AsyncGenerator<Job>,
  tokenizer: Tokenizer,
  encoding: Encoding,
  count: number,
  folder: string,
): AsyncGenerator<Encoded> {
  if (count === 0) {
    for await (const job of source) yield encodeAll(tokenizer, job, encoding);
    return;
  }
  const home = join(folder, "tokenizer"); // workers load their own from here
  mkdirSync(home, { recursive: true });
  tokenizer.save(home);
  const workers = Array.from({ length: count }, () => new EncodingWorker(home, encoding));
  try {
    const waiting: Promise<Encoded>[] = [];
    for await (const job of source) {
      waiting.push(workers[job.id % count].encode(job));
      if (waiting.length >= 2 * count) yield await (waiting.shift() as Promise<Encoded>);
    }
    for (const encoded of waiting) yield await encoded;
  } finally {
    await Promise.all(workers.map((worker) => worker.close()));
  }
}

class EncodingWorker {
  private readonly worker: Worker;
  private readonly open = new Map<number, { resolve: (e: Encoded) => void; reject: (error: Error) => void }>();

  constructor(folder: string, encoding: Encoding) {
    this.worker = new Worker(new URL("./tokenizeWorker.ts", import.meta.url), { workerData: { folder, encoding } });
    this.worker.on("message", ({ id, ...encoded }: Encoded & { id: number }) => {
      this.open.get(id)?.resolve(encoded);
      this.open.delete(id);
    });
    this.worker.on("error", (error: Error) => {
      for (const { reject } of this.open.values()) reject(error);
      this.open.clear();
    });
  }

  encode(job: Job): Promise<Encoded> {
    const done = new Promise<Encoded>((resolve, reject) => this.open.set(job.id, { resolve, reject }));
    done.catch(() => {}); // awaited later, in order
    this.worker.postMessage(job);
    return done;
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }
}
