/**
 * Saving without ever harming what was there: content goes to a temporary name beside the target, is synced, renamed over
 * the target, and the folder is synced. A crash at any moment leaves the old file or the new one, whole.
 */
import * as fs from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { MicroMindError } from "../device/errors.ts";
import { randomSuffix, removeStale, temporaryPath } from "./temporary.ts";

/** A file or folder that could not be read or saved. The message begins with its name and says what to do. */
export class FileError extends MicroMindError {
  constructor(
    /** The file's name, as the caller gave it. */
    readonly file: string,
    /** What is wrong, without the name. */
    readonly reason: string,
    /** The system's code, such as `ENOSPC`, where there is one. */
    readonly code?: string,
    options?: ErrorOptions,
  ) {
    super(`${file}: ${reason}`, options);
  }
}

/** Text is written as UTF-8; of a typed array or view, its bytes. */
export type Chunk = string | ArrayBufferView;

export interface SaveOptions {
  /** Bytes that the whole content will take, where the caller knows: a full disk's error then says so. */
  needBytes?: number;
}

const causes: Record<string, string> = {
  EACCES: "permission denied; check who owns the folder",
  EDQUOT: "the disk quota is used up; free some space or save elsewhere",
  EFBIG: "the file is larger than this file system allows",
  EIO: "the disk reports an input/output error",
  EISDIR: "a folder of this name stands there; move it away or choose another name",
  EMFILE: "too many open files in this process",
  ENAMETOOLONG: "the name is too long for this file system",
  ENOENT: "no such file or folder",
  ENOTDIR: "part of its path is a file, not a folder",
  EPERM: "not permitted",
  EROFS: "the file system is read-only; save elsewhere",
};

/** A chunk larger than this goes out in pieces: no system takes more than 2 GiB at once. */
const largestWrite = 64 * 2 ** 20;

/**
 * Saves a file: its name holds the old content or the whole new one, never less. Parent folders are made as needed.
 * @param content one chunk, or an iterable of them, written as they come: a file of any size needs a chunk's memory
 * @throws FileError with the cause (for a full disk: space needed and free). The old file is untouched, nothing is left behind.
 *   What the iterable itself throws passes through.
 */
export function writeFileAtomic(path: string, content: Chunk | Iterable<Chunk>, options: SaveOptions = {}): void {
  const chunks = typeof content === "string" || ArrayBuffer.isView(content) ? [content] : content;
  const file = new AtomicFile(path, options);
  try {
    for (const chunk of chunks) file.write(chunk);
    file.commit();
  } finally {
    file.abort();
  }
}

/** {@link writeFileAtomic} for content that is awaited, such as tensors read from the GPU. */
export async function writeStreamAtomic(
  path: string,
  content: AsyncIterable<Chunk>,
  options: SaveOptions = {},
): Promise<void> {
  const file = new AtomicFile(path, options);
  try {
    for await (const chunk of content) file.write(chunk);
    file.commit();
  } finally {
    file.abort();
  }
}

/** A file on its way: write, then commit; or abort, which after a commit does nothing. */
class AtomicFile {
  readonly #path: string;
  readonly #temporary: string;
  #descriptor: number | undefined;
  #written = 0;

  constructor(
    readonly name: string,
    readonly options: SaveOptions,
  ) {
    this.#path = resolve(name);
    this.#temporary = temporaryPath(this.#path, "tmp", randomSuffix());
    this.#guard(0, () => {
      const old = fs.statSync(this.#path, { throwIfNoEntry: false });
      if (old?.isDirectory()) throw Object.assign(new Error("EISDIR"), { code: "EISDIR" });
      fs.mkdirSync(dirname(this.#path), { recursive: true });
      removeStale(dirname(this.#path), basename(this.#path));
      this.#descriptor = fs.openSync(this.#temporary, "wx", old ? old.mode & 0o777 : 0o666);
    });
  }

  write(chunk: Chunk): void {
    const bytes =
      typeof chunk === "string"
        ? Buffer.from(chunk, "utf8")
        : new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    this.#guard(bytes.length, () => {
      for (let at = 0; at < bytes.length; ) {
        at += fs.writeSync(this.#descriptor!, bytes, at, Math.min(bytes.length - at, largestWrite));
      }
    });
    this.#written += bytes.length;
  }

  commit(): void {
    this.#guard(0, () => {
      fs.fsyncSync(this.#descriptor!);
      this.#close();
      fs.renameSync(this.#temporary, this.#path);
      syncFolder(dirname(this.#path));
    });
  }

  abort(): void {
    this.#close();
    fs.rmSync(this.#temporary, { force: true });
  }

  #close(): void {
    const descriptor = this.#descriptor;
    // Forgotten first: a close that fails (network drives report a full disk there) has closed all the same.
    this.#descriptor = undefined;
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }

  /** Runs a file operation; its failure removes the temporary file and becomes a FileError. */
  #guard(bytes: number, operation: () => void): void {
    try {
      operation();
    } catch (error) {
      if (this.#descriptor !== undefined) this.abort();
      throw savingError(this.name, this.#path, error, this.options.needBytes ?? this.#written + bytes);
    }
  }
}

/**
 * Saves a folder: `fill` writes into an empty temporary folder beside it, whose files are then synced and which takes the
 * target's place. Where the target exists it is first renamed aside: a crash just then is put right by the next
 * {@link removeStale} or replaceFolderAtomic, which give the old folder its name back.
 * @returns what `fill` returns
 * @throws what `fill` throws, or FileError; the old folder is untouched and nothing is left behind
 */
export async function replaceFolderAtomic<T>(path: string, fill: (folder: string) => T | Promise<T>): Promise<T> {
  const target = resolve(path);
  const suffix = randomSuffix();
  const fresh = temporaryPath(target, "tmp", suffix);
  const aside = temporaryPath(target, "old", suffix);
  try {
    makeFresh(path, target, fresh);
    const result = await fill(fresh);
    saving(path, target, () => {
      syncTree(fresh);
      if (fs.existsSync(target)) fs.renameSync(target, aside);
      fs.renameSync(fresh, target);
      syncFolder(dirname(target));
      fs.rmSync(aside, { recursive: true, force: true });
    });
    return result;
  } catch (error) {
    // What failed inside the temporary folder is told under the name that the user knows.
    if (!(error instanceof FileError) || !error.file.startsWith(fresh)) throw error;
    const reason = error.reason.replace(/ \([^()]+\)$/, "");
    const file = path + error.file.slice(fresh.length);
    throw new FileError(file, `${reason} (${keptOf(target)})`, error.code, { cause: error });
  } finally {
    fs.rmSync(fresh, { recursive: true, force: true });
    if (fs.existsSync(aside) && !fs.existsSync(target)) fs.renameSync(aside, target);
  }
}

function makeFresh(name: string, target: string, fresh: string): void {
  saving(name, target, () => {
    const old = fs.statSync(target, { throwIfNoEntry: false });
    if (old && !old.isDirectory()) throw new FileError(name, "is a file, expected a folder or nothing there");
    fs.mkdirSync(dirname(target), { recursive: true });
    removeStale(dirname(target), basename(target));
    fs.mkdirSync(fresh);
  });
}

/** Makes renames within a folder survive a power cut. Windows cannot open folders, and some network drives cannot sync them. */
function syncFolder(folder: string): void {
  if (process.platform !== "win32") syncPath(folder, ["EINVAL", "ENOTSUP", "EPERM", "EACCES"]);
}

function syncPath(path: string, tolerated: string[] = []): void {
  let descriptor: number | undefined;
  try {
    descriptor = fs.openSync(path, "r");
    fs.fsyncSync(descriptor);
  } catch (error) {
    if (!tolerated.includes(codeOf(error) ?? "")) throw error;
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

function syncTree(folder: string): void {
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) syncTree(path);
    else if (entry.isFile()) syncPath(path, process.platform === "win32" ? ["EPERM"] : []);
  }
  syncFolder(folder);
}

export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

function saving(name: string, path: string, operation: () => void): void {
  try {
    operation();
  } catch (error) {
    throw savingError(name, path, error);
  }
}

/** Called once the temporary file is gone, so that "free" is what a second try would find. */
function savingError(name: string, path: string, error: unknown, need?: number): FileError {
  if (error instanceof FileError) return error;
  const code = codeOf(error);
  const reason = code === "ENOSPC" ? fullDisk(path, need) : (causes[code ?? ""] ?? (error as Error).message);
  return new FileError(name, `could not be saved: ${reason} (${keptOf(path)})`, code, { cause: error });
}

function keptOf(path: string): string {
  return fs.existsSync(path) ? "what was there before is kept" : "nothing was written";
}

function fullDisk(path: string, need: number | undefined): string {
  const free = freeBytes(dirname(path));
  const needed = need === undefined ? undefined : `${megabytes(need)} needed or more`;
  const figures = [needed, free === undefined ? undefined : `${megabytes(free)} free`].filter((part) => part);
  return `the disk is full${figures.length > 0 ? `, ${figures.join(", ")}` : ""}; free some space or save elsewhere`;
}

/** Bytes that a program without privileges may still write to a folder's disk; undefined where the system does not say. */
export function freeBytes(folder: string): number | undefined {
  try {
    const { bavail, bsize } = fs.statfsSync(folder);
    return bavail * bsize;
  } catch {
    return undefined;
  }
}

export function megabytes(bytes: number): string {
  return bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** The error for a file or folder that could not be opened or read. */
export function readingError(name: string, error: unknown): FileError {
  if (error instanceof FileError) return error;
  const code = codeOf(error);
  return new FileError(name, `cannot be read: ${causes[code ?? ""] ?? (error as Error).message}`, code, {
    cause: error,
  });
}
