/** metrics.jsonl: a line for each step, in order, no step twice. */
import * as fs from "node:fs";
import { writeFileAtomic } from "../checkpoint/file.ts";
import type { Point } from "./curve.ts";

/** A line of metrics.jsonl. A figure that is not finite is written as null, for JSON has no other word. */
export interface MetricsLine {
  step: number;
  [name: string]: number | boolean | null | undefined;
}

/**
 * Appends lines to a file. What is known of one step, such as loss and later validation loss, is gathered into one line, which
 * is written when the next step comes. On a full disk lines wait in memory for the next chance.
 */
export class MetricsLog {
  /** Every finite `loss` and `valLoss`, for the curve. */
  readonly loss: Point[] = [];
  readonly valLoss: Point[] = [];
  /** Steps marked as skipped in the lines that were there. */
  skipped = 0;
  /** The latest line with a finite loss. */
  last: MetricsLine | undefined;
  /** The latest step whose training loss, finite or not, is known. */
  lastStep = 0;

  readonly #file: string;
  #pending: MetricsLine | undefined;
  #written = -1;
  #waiting = "";
  /** Where the next line begins: what a failed write left behind it is written over. */
  #end = 0;

  /**
   * Opens a new file, or with `upTo` one whose lines up to that step stay: later ones, and a last line that a killed process left
   * half-written, are cut off.
   * @throws FileError where it cannot be written
   */
  constructor(file: string, upTo?: number) {
    this.#file = file;
    const lines = upTo === undefined ? [] : readMetrics(file).filter(({ step }) => step <= upTo);
    const text = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    writeFileAtomic(file, text);
    this.#end = Buffer.byteLength(text);
    for (const line of lines) this.#remember(line);
    this.skipped = lines.filter(({ skipped }) => skipped === true).length;
    this.lastStep = lines.at(-1)?.step ?? 0;
  }

  /**
   * Adds to the line of a step, and writes those of the steps before it.
   * @throws Error where the step's line has already been written; what the file system says, as {@link flush} does
   */
  add(line: MetricsLine): void {
    const { step } = line;
    if (step <= this.#written || step < (this.#pending?.step ?? 0))
      throw new Error(
        `run.log: step ${step} comes after step ${Math.max(this.#written, this.#pending?.step ?? 0)}; log steps in order`,
      );
    if (this.#pending && this.#pending.step !== step) this.#close();
    this.#pending = { ...this.#pending, ...line };
    if (line.loss !== undefined) this.lastStep = step;
    if (isFigure(line.loss)) this.last = this.#pending;
    this.#write();
  }

  /**
   * Writes all that is known, the current step's line included.
   * @throws what the file system says; nothing is lost, the next call tries again
   */
  flush(): void {
    this.#close();
    this.#write();
  }

  /** Ends the step's line. */
  #close(): void {
    const line = this.#pending;
    if (!line) return;
    // Before the first step there is no training loss; then any text is as new to the model as held-out text.
    if (line.loss === undefined) line.loss = line.valLoss ?? null;
    this.#pending = undefined;
    this.#remember(line);
    this.#waiting += `${JSON.stringify(line, orNull)}\n`;
  }

  #write(): void {
    if (this.#waiting === "") return;
    const bytes = Buffer.from(this.#waiting);
    const descriptor = fs.openSync(this.#file, "r+");
    try {
      for (let at = 0; at < bytes.length; )
        at += fs.writeSync(descriptor, bytes, at, bytes.length - at, this.#end + at);
    } finally {
      fs.closeSync(descriptor);
    }
    this.#end += bytes.length;
    this.#waiting = "";
  }

  #remember(line: MetricsLine): void {
    const { step, loss, valLoss } = line;
    this.#written = step;
    if (isFigure(loss)) this.last = line;
    if (isFigure(loss) && step > 0) this.loss.push({ step, value: loss });
    if (isFigure(valLoss)) this.valLoss.push({ step, value: valLoss });
  }
}

const isFigure = (value: unknown): value is number => Number.isFinite(value);
const orNull = (_: string, value: unknown) => (typeof value === "number" && !isFigure(value) ? null : value);

/** The lines of a metrics file that are whole, in order, the later of two for the same step; none where there is no file. */
export function readMetrics(file: string): MetricsLine[] {
  if (!fs.existsSync(file)) return [];
  const lines = new Map<number, MetricsLine>();
  for (const text of fs.readFileSync(file, "utf8").split("\n")) {
    try {
      const line = JSON.parse(text) as MetricsLine | null;
      if (typeof line?.step === "number") lines.set(line.step, line);
    } catch {
      // A line that was being written when its process was killed.
    }
  }
  return [...lines.values()].sort((a, b) => a.step - b.step);
}
