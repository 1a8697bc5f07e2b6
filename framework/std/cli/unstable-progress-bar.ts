/** `@std/cli/unstable-progress-bar` where JSR cannot be reached. */
import process from "node:process";

/** What `fmt` is given at each update; times in ms. */
export interface ProgressBarFormatter {
  /** Time since the start as `mm:ss`. */
  styledTime: string;
  /** The bar alone: `###-------`. */
  progressBar: string;
  time: number;
  previousTime: number;
  value: number;
  previousValue: number;
  max: number;
}

export interface ProgressBarOptions {
  /** Where the bar is written; default: stderr, where without a terminal only the last state is written. */
  writable?: WritableStream<Uint8Array>;
  /** The value at the start, default 0. */
  value?: number;
  /** The value at the end. */
  max: number;
  /** In characters, default 50. */
  barLength?: number;
  fillChar?: string;
  emptyChar?: string;
  /** Whether the bar is removed at the end, default false. */
  clear?: boolean;
  /** The whole line; default `[mm:ss] [###-------] [0.24/97.6 KiB]`, so give one where the value is not bytes. */
  fmt?: (fmt: ProgressBarFormatter) => string;
  /** Whether the writable stays open after `stop`, default true. */
  keepOpen?: boolean;
}

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];

function bytesLine({ styledTime, progressBar, value, max }: ProgressBarFormatter): string {
  const power = max < 1024 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log2(max) / 10));
  const [done, all] = [value, max].map((bytes) => (bytes / 1024 ** power).toFixed(power === 0 ? 0 : 2));
  return `[${styledTime}] [${progressBar}] [${done}/${all} ${UNITS[power]}]`;
}

function stderr(): WritableStream<Uint8Array> {
  return new WritableStream({ write: (chunk) => void process.stderr.write(chunk) });
}

/**
 * A bar that redraws itself once a second. Set `value` as work gets done, and `await bar.stop()` at the end; the timer
 * does not keep the process alive.
 */
export class ProgressBar {
  value: number;
  max: number;
  #options: Required<ProgressBarOptions>;
  #writer: WritableStreamDefaultWriter<Uint8Array>;
  #timer: ReturnType<typeof setInterval> | undefined;
  #start = Date.now();
  #lineClear = ""; // only where lines are drawn over
  #previousTime = 0;
  #previousValue: number;

  constructor(options: ProgressBarOptions) {
    const { writable = stderr(), value = 0, max } = options;
    const defaults = { barLength: 50, fillChar: "#", emptyChar: "-", clear: false, fmt: bytesLine, keepOpen: true };
    this.#options = { ...defaults, ...options, writable, value };
    this.value = value;
    this.#previousValue = value;
    this.max = max;
    this.#writer = writable.getWriter();
    if (options.writable || process.stderr.isTTY) {
      this.#lineClear = "\r\u001b[K";
      this.#timer = setInterval(() => void this.#print(), 1000);
      this.#timer.unref?.();
      void this.#print();
    }
  }

  async #write(text: string): Promise<void> {
    try {
      await this.#writer.write(new TextEncoder().encode(text));
    } catch {
      clearInterval(this.#timer); // nobody reads any more: no reason to stop the work that is measured
    }
  }

  #print(): Promise<void> {
    const { barLength, fillChar, emptyChar, fmt } = this.#options;
    const time = Date.now() - this.#start;
    const share = this.max > 0 ? Math.min(Math.max(this.value / this.max, 0), 1) : 1;
    const filled = Math.trunc(share * barLength);
    const two = (amount: number) => String(Math.floor(amount)).padStart(2, "0");
    const line = fmt({
      styledTime: `${two(time / 60_000)}:${two((time / 1000) % 60)}`,
      progressBar: fillChar.repeat(filled) + emptyChar.repeat(barLength - filled),
      time,
      previousTime: this.#previousTime,
      value: this.value,
      previousValue: this.#previousValue,
      max: this.max,
    });
    this.#previousTime = time;
    this.#previousValue = this.value;
    return this.#write(this.#lineClear + line);
  }

  /** Draws the last state (or removes the bar, where `clear`) and ends. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    if (this.#options.clear) await this.#write(this.#lineClear);
    else {
      await this.#print();
      await this.#write("\n");
    }
    if (this.#options.keepOpen) this.#writer.releaseLock();
    else await this.#writer.close().catch(() => {});
  }
}
