/** A file read in pieces, so that one of many gigabytes is never in memory as a whole. */
import * as fs from "node:fs";
import { parse as parseJsonc } from "@std/jsonc";
import { FileError, megabytes, readingError } from "./file.ts";
import { byteLength, describeTensor, type HostTensor, type TensorInfo } from "./host.ts";

/** What an open checkpoint offers, whichever its format. Tensors are read from disk when asked for, each time anew. */
export interface Checkpoint {
  /** The file or folder as it was named. */
  readonly path: string;
  readonly files: readonly string[];
  /** Text that the file keeps beside its tensors, such as `{ format: "pt" }`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Names that share their numbers, a group each: `[["model.embed_tokens.weight", "lm_head.weight"]]`. */
  readonly tied: readonly (readonly string[])[];
  names(): string[];
  has(name: string): boolean;
  /** @throws FileError where there is no such tensor, naming some that there are */
  info(name: string): TensorInfo;
  /** @throws FileError where there is no such tensor, or the file is damaged, closed or has changed since it was opened */
  get(name: string): HostTensor;
  /** Ends reading: `get` throws from now on. No file is held open between reads, so that forgetting this leaks nothing. */
  close(): void;
}

/** The largest ArrayBuffer of Bun. */
const largestBuffer = 2 ** 32;
const largestRead = 64 * 2 ** 20;

/** What stands at the beginning of a file that is something else altogether. */
const strangers: [RegExp, string][] = [
  [/^version https:\/\/git-lfs/, "is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"],
  [/^\s*<(!doctype|html|\?xml)/i, "is a web page, not a checkpoint; the download went wrong"],
  [/^\x93NUMPY/, "is a NumPy file, expected safetensors or PyTorch"],
  [/^\x89HDF/, "is an HDF5 file, expected safetensors or PyTorch"],
];

export class FileSource {
  readonly size: number;
  readonly #identity: string;
  #isClosed = false;

  /** @throws FileError where the file is missing, empty, a folder, or of another kind altogether */
  constructor(readonly path: string) {
    const status = this.#guard(() => fs.statSync(path));
    if (status.isDirectory()) throw this.error("is a folder, expected a file");
    if (status.size === 0) throw this.error("is empty");
    this.size = status.size;
    this.#identity = identityOf(status);
    const start = Buffer.from(this.read(0, Math.min(this.size, 64))).toString("latin1");
    for (const [pattern, what] of strangers) if (pattern.test(start)) throw this.error(what);
  }

  error(reason: string, cause?: unknown): FileError {
    return new FileError(this.path, reason, undefined, { cause });
  }

  close(): void {
    this.#isClosed = true;
  }

  /** Reads `length` bytes at `offset` into a buffer of their own. */
  read(offset: number, length: number): Uint8Array<ArrayBuffer> {
    if (this.#isClosed) throw this.error("was closed; open it again to read on");
    if (length > largestBuffer)
      throw this.error(`${megabytes(length)} in one piece; this runtime holds 4.3 GB at most`);
    return this.#guard(() => {
      const bytes = new Uint8Array(length);
      this.#withDescriptor((descriptor) => fill(descriptor, bytes, offset));
      return bytes;
    });
  }

  /** Hands on `length` bytes at `offset` in pieces of 64 MB. */
  *pieces(offset: number, length: number): Generator<Uint8Array<ArrayBuffer>> {
    for (let at = 0; at < length; at += largestRead) yield this.read(offset + at, Math.min(largestRead, length - at));
  }

  #withDescriptor(use: (descriptor: number) => void): void {
    const descriptor = fs.openSync(this.path, "r");
    try {
      if (identityOf(fs.fstatSync(descriptor)) !== this.#identity) {
        throw this.error("has changed since it was opened; open it again");
      }
      use(descriptor);
    } finally {
      fs.closeSync(descriptor);
    }
  }

  #guard<T>(operation: () => T): T {
    try {
      return operation();
    } catch (error) {
      throw readingError(this.path, error);
    }
  }
}

const identityOf = ({ ino, size, mtimeMs }: fs.Stats): string => `${ino} ${size} ${mtimeMs}`;

function fill(descriptor: number, bytes: Uint8Array, offset: number): void {
  for (let at = 0; at < bytes.length; ) {
    const count = fs.readSync(descriptor, bytes, at, Math.min(bytes.length - at, largestRead), offset + at);
    if (count === 0) throw new Error("it ends early");
    at += count;
  }
}

/** @throws FileError that names some of the tensors there are */
export function expectEntry<T>(path: string, entries: ReadonlyMap<string, T>, name: string): T {
  const entry = entries.get(name);
  if (entry !== undefined) return entry;
  const names = [...entries.keys()];
  const some = names.length > 4 ? `${names.slice(0, 4).join(", ")}, ...` : names.join(", ");
  throw new FileError(path, `has no tensor ${name}; it has ${names.length}${names.length > 0 ? `: ${some}` : ""}`);
}

/** @throws FileError where a tensor is larger than memory can hold in one piece */
export function expectFits(path: string, name: string, info: TensorInfo): void {
  const bytes = byteLength(info);
  if (bytes <= largestBuffer) return;
  const size = `${name} is ${describeTensor(info)}, ${megabytes(bytes)}`;
  throw new FileError(path, `${size}; a tensor of more than 4.3 GB cannot be held in one piece`);
}

/** A `.jsonc` may hold comments. @throws FileError where the file is missing or does not hold a JSON object */
export function readJsonObject(path: string): Record<string, unknown> {
  let value: unknown;
  try {
    const text = fs.readFileSync(path, "utf8");
    value = path.endsWith(".jsonc") ? parseJsonc(text) : JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw readingError(path, error);
    throw new FileError(path, `is not JSON (${error.message}); it may be cut short`, undefined, { cause: error });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FileError(path, `holds ${JSON.stringify(value).slice(0, 60)}, expected an object`);
  }
  return value as Record<string, unknown>;
}
