/** Text to token shards on disk, once: worker threads encode, the main thread reads and writes in order. */
import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import { Worker } from "node:worker_threads";
import { replaceFolderAtomic, writeFileAtomic } from "../checkpoint/file.ts";
import { cacheFolder } from "../device/cache.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { documents, type ReadOptions } from "./documents.ts";
import { type Encoded, encodeAll, type Job, type Special } from "./encode.ts";
import { type DataError, resolveFiles } from "./files.ts";
import { openShards, type ShardInfo, type Shards } from "./shards.ts";

export interface TokenizeProgress {
  bytes: number;
  totalBytes: number;
  documents: number;
  tokens: number;
}

export interface TokenizeOptions extends Pick<ReadOptions, "onError"> {
  /** Where shards are kept (default `.cache/micromind`, or `MICROMIND_CACHE`). */
  cache?: string;
  /** Sets bos before and eos behind each document, where the tokenizer has them (default true). */
  special?: boolean;
  /** Threads that encode; 0 encodes on this one (default: one less than the cores, and 0 for small data). */
  workers?: number;
  onProgress?: (progress: TokenizeProgress) => void;
}

const VERSION = 1;
const JOB = 1 << 19; // characters a job
const SHARD = 1 << 27; // tokens a file
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
  const contents = await Promise.all(files.map((file) => contentHash(file, cache)));
  const { onError = "error", special = true } = options;
  const key = createHash("sha256").update(
    JSON.stringify([VERSION, tokenizer.hash(), contents, files.map((f) => /\.txt(\.gz)?$/.test(f)), onError, special]),
  );
  const folder = join(cache, `tokens-${key.digest("hex").slice(0, 24)}`);
  if (!existsSync(join(folder, "info.json")))
    await replaceFolderAtomic(folder, (temporary) => build(files, tokenizer, temporary, options));
  return openShards(folder);
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
  mkdirSync(join(cache, "hashes"), { recursive: true });
  writeFileAtomic(memo, hex);
  return hex;
}

async function build(
  files: readonly string[],
  tokenizer: Tokenizer,
  folder: string,
  options: TokenizeOptions,
): Promise<void> {
  const totalBytes = files.reduce((sum, file) => sum + statSync(file).size, 0);
  const special: Special =
    options.special === false
      ? { bos: undefined, eos: undefined }
      : { bos: tokenizer.bosTokenId, eos: tokenizer.eosTokenId };
  const progress: TokenizeProgress = { bytes: 0, totalBytes, documents: 0, tokens: 0 };
  const skipped: string[] = [];
  let skips = 0;
  const reading: ReadOptions = {
    onError: options.onError,
    onSkip: (error: DataError) => {
      skips++;
      if (skipped.length < 20) skipped.push(error.message);
    },
    onBytes: (bytes) => {
      progress.bytes = bytes;
    },
  };
  const small = totalBytes < SMALL;
  const workers = options.workers ?? (small ? 0 : Math.max(1, Math.min(8, availableParallelism() - 1)));
  const writer = new ShardWriter(folder, tokenizer.vocabSize);
  try {
    for await (const encoded of encodeJobs(jobs(files, reading), tokenizer, special, workers, folder)) {
      writer.add(encoded);
      progress.documents += encoded.documents.length / 2;
      progress.tokens += encoded.tokens.length;
      options.onProgress?.({ ...progress });
    }
  } finally {
    writer.close();
  }
  const info: ShardInfo = {
    ...writer.info(),
    files: files.map((f) => resolve(f)),
    skipped: skips,
    skippedExamples: skipped,
  };
  writeFileSync(join(folder, "info.json"), JSON.stringify(info, null, 2));
}

async function* jobs(files: readonly string[], reading: ReadOptions): AsyncGenerator<Job> {
  let texts: string[] = [];
  let size = 0;
  let id = 0;
  for await (const { text } of documents(files, reading)) {
    texts.push(text);
    size += text.length;
    if (size < JOB) continue;
    yield { id: id++, texts };
    [texts, size] = [[], 0];
  }
  if (texts.length) yield { id, texts };
}

/** Jobs encoded by so many workers, given out in the jobs' order whoever is first. */
async function* encodeJobs(
  source: AsyncGenerator<Job>,
  tokenizer: Tokenizer,
  special: Special,
  count: number,
  folder: string,
): AsyncGenerator<Encoded> {
  if (count === 0) {
    for await (const { texts } of source) yield encodeAll(tokenizer, texts, special);
    return;
  }
  const home = join(folder, "tokenizer"); // workers load their own from here
  mkdirSync(home, { recursive: true });
  tokenizer.save(home);
  const workers = Array.from({ length: count }, () => new EncodingWorker(home, special));
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

  constructor(folder: string, special: Special) {
    this.worker = new Worker(new URL("./tokenizeWorker.ts", import.meta.url), { workerData: { folder, special } });
    this.worker.on("message", ({ id, tokens, documents: lengths }: Encoded & { id: number }) => {
      this.open.get(id)?.resolve({ tokens, documents: lengths });
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

/** Writes tokens and documents behind each other; a document never lies across two files. */
class ShardWriter {
  private readonly wide: boolean;
  private readonly counts: number[] = [];
  private readonly index: number;
  private file = -1;
  private documents = 0;

  constructor(
    private readonly folder: string,
    vocabSize: number,
  ) {
    this.wide = vocabSize > 65536;
    this.index = openSync(join(folder, "documents.bin"), "w");
  }

  add({ tokens, documents: lengths }: Encoded): void {
    if (this.file < 0 || this.counts[this.counts.length - 1] + tokens.length > SHARD) this.next();
    writeFully(this.file, this.wide ? tokens : Uint16Array.from(tokens));
    writeFully(this.index, lengths);
    this.counts[this.counts.length - 1] += tokens.length;
    this.documents += lengths.length / 2;
  }

  info(): Pick<ShardInfo, "bytesPerToken" | "shards" | "documents"> {
    return { bytesPerToken: this.wide ? 4 : 2, shards: this.counts, documents: this.documents };
  }

  close(): void {
    closeSync(this.index);
    if (this.file >= 0) closeSync(this.file);
  }

  private next(): void {
    if (this.file >= 0) closeSync(this.file);
    this.file = openSync(join(this.folder, `tokens-${this.counts.length}.bin`), "w");
    this.counts.push(0);
  }
}

function writeFully(file: number, data: Uint16Array | Uint32Array): void {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}
