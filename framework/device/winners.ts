/** Tunings that won a measurement on one adapter, in memory and in a file of the cache folder. */
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { cacheFolder } from "./cache.ts";
import {
  defaultTuning,
  type Kernel,
  moduleSource,
  type Shape,
  shapeKey,
  sizeClasses,
  type Target,
  type Tuning,
  type Uniforms,
} from "./kernel.ts";

export interface Winner {
  /** Exponents of the sizes that it was measured at, as `sizeClasses` gives them. */
  sizes: number[];
  tuning: Tuning;
  /** Of the kernel's source under this tuning: a winner of another source is none. */
  source: string;
  /** Of one launch. */
  microseconds: number;
}

/** Kernel, compiled shape, winners by size. */
type Table = Record<string, Record<string, Winner[]>>;

/** By what kernels are tuned at a time, and on which adapter: what bits hang on. JSON. */
export interface Tunings {
  adapter: string;
  kernels: Table;
}

const FORMAT = "micromind tunings 1";
/** Doublings, over all sizes, from which on a measurement says less than the kernel's own choice. */
const FAR = 6;

export class Winners {
  private table: Table = {};

  /** @param adapter what the measurements hang on, as `adapterIdentity` gives it */
  constructor(
    readonly adapter: string,
    readonly path = join(cacheFolder(), "tunings", `${digest(adapter)}.json`),
  ) {}

  /** Winners as a run's state keeps them; undefined where that is damaged. */
  static of({ adapter, kernels }: Tunings): Winners | undefined {
    if (!isTable(kernels)) return undefined;
    const winners = new Winners(adapter);
    winners.table = kernels;
    return winners;
  }

  /** Reads the file, if there is one. One that is damaged or of another adapter is left aside, and a line says so. */
  load(say: (line: string) => void = console.error): this {
    const { table, wrong } = read(this.path, this.adapter);
    if (wrong) say(`${this.path}: ${wrong}; kernels pick their own tunings until \`bun bench --tune\` writes it anew`);
    this.table = table;
    return this;
  }

  get kernels(): Tunings["kernels"] {
    return this.table;
  }

  /** The winner of this class of sizes, or of the nearest one; none where the kernel has changed since. */
  find(kernel: Kernel, shape: Shape, uniforms: Uniforms, target: Target): Winner | undefined {
    const known = this.table[kernel.name]?.[shapeKey(shape)];
    if (!known?.length) return undefined;
    const sizes = sizeClasses(kernel, uniforms);
    const near = known
      .map((winner) => ({ winner, far: distance(winner.sizes, sizes) }))
      .filter(({ far }) => far <= FAR)
      .sort((a, b) => a.far - b.far);
    return near.find(({ winner }) => winner.source === sourceHash(kernel, shape, winner.tuning, target))?.winner;
  }

  /** Whether this very class has been measured. */
  has(kernel: Kernel, shape: Shape, uniforms: Uniforms, target: Target): boolean {
    const winner = this.find(kernel, shape, uniforms, target);
    return winner !== undefined && distance(winner.sizes, sizeClasses(kernel, uniforms)) === 0;
  }

  /** Whether a winner of the kernel, of any shape and sizes, is such. */
  any<S extends Shape, T extends Tuning>({ name }: Kernel<S, T>, such: (tuning: T) => boolean): boolean {
    return Object.values(this.table[name] ?? {}).some((winners) => winners.some(({ tuning }) => such(tuning as T)));
  }

  set(kernel: Kernel, shape: Shape, uniforms: Uniforms, target: Target, tuning: Tuning, microseconds: number): void {
    const sizes = sizeClasses(kernel, uniforms);
    const winner = { sizes, tuning, source: sourceHash(kernel, shape, tuning, target), microseconds };
    merge(this.table, { [kernel.name]: { [shapeKey(shape)]: [winner] } });
  }

  /**
   * Writes the file, whole or not at all, with what other processes have put there since it was read.
   * @returns whether that went well; where not, a line says so, and the winners serve this process
   */
  save(say: (line: string) => void = console.error): boolean {
    const { table } = read(this.path, this.adapter);
    merge(table, this.table);
    this.table = table;
    const temporary = `${this.path}.${process.pid}-${randomBytes(4).toString("hex")}.tmp`;
    try {
      mkdirSync(dirname(this.path), { recursive: true });
      writeFileSync(temporary, JSON.stringify({ format: FORMAT, adapter: this.adapter, kernels: table }, null, 1));
      renameSync(temporary, this.path);
      return true;
    } catch (error) {
      const why = error instanceof Error ? error.message : error;
      say(`${this.path}: can't be written (${why}); measured tunings serve this process alone`);
      return false;
    } finally {
      removeQuietly(temporary);
    }
  }
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // a path that cannot be looked at holds nothing of ours
  }
}

const digest = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 16);

/** A kernel is another one once its source changes, under the winner's tuning or its own choice, or what there is to choose from. */
function sourceHash(kernel: Kernel, shape: Shape, tuning: Tuning, target: Target): string {
  try {
    const own = defaultTuning(kernel, shape, target);
    const sources = [tuning, own].map((point) => moduleSource(kernel, shape, point));
    return digest(JSON.stringify([kernel.tuning, kernel.sizes, ...sources]));
  } catch {
    return ""; // a tuning from a file may be none of this kernel's
  }
}

/** In doublings. */
function distance(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  return a.reduce((sum, exponent, i) => sum + Math.abs(exponent - b[i]), 0);
}

function merge(into: Table, from: Table): void {
  for (const [kernel, shapes] of Object.entries(from)) {
    into[kernel] ??= {};
    for (const [shape, winners] of Object.entries(shapes)) {
      const kept = (into[kernel][shape] ?? []).filter((old) =>
        winners.every((w) => distance(w.sizes, old.sizes) !== 0),
      );
      into[kernel][shape] = [...kept, ...winners].sort((a, b) => compare(a.sizes, b.sizes));
    }
  }
}

/** An order that does not hang on who measured first: of equally near winners the first counts. */
function compare(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((exponent, i) => exponent !== b[i]);
  return at < 0 ? 0 : a[at] - b[at];
}

function read(path: string, adapter: string): { table: Table; wrong?: string } {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return { table: {} };
    return { table: {}, wrong: `can't be read (${error instanceof Error ? error.message : error})` };
  }
  try {
    const file = JSON.parse(text) as { format?: string; adapter?: string; kernels?: Table };
    if (file?.format !== FORMAT) return { table: {}, wrong: `is no file of "${FORMAT}"` };
    if (file.adapter !== adapter) return { table: {}, wrong: "is another adapter's" };
    if (!isTable(file.kernels)) return { table: {}, wrong: "is damaged" };
    return { table: file.kernels };
  } catch {
    return { table: {}, wrong: "is damaged" };
  }
}

const isObject = (x: unknown): x is Record<string, unknown> => typeof x === "object" && x !== null && !Array.isArray(x);
const isNumber = (x: unknown) => typeof x === "number" && Number.isFinite(x);

function isTable(kernels: unknown): kernels is Table {
  return (
    isObject(kernels) &&
    Object.values(kernels).every((shapes) => isObject(shapes) && Object.values(shapes).every(isList))
  );
}

function isList(winners: unknown): boolean {
  if (!Array.isArray(winners)) return false;
  return winners.every(
    (w) =>
      isObject(w) &&
      Array.isArray(w.sizes) &&
      w.sizes.every(isNumber) &&
      isObject(w.tuning) &&
      Object.values(w.tuning).every(isNumber) &&
      typeof w.source === "string" &&
      isNumber(w.microseconds),
  );
}
