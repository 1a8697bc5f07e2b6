/** What a long job shows while it runs: one line that is drawn over on a terminal, plain lines now and then in a file. */
import process from "node:process";
import { unicodeWidth } from "@std/cli/unicode-width";
import { bytes, duration, short } from "./format.ts";

/** Where lines go; `process.stdout` is one. */
export interface Output {
  write(text: string): unknown;
  isTTY?: boolean;
  /** Width of the terminal. */
  columns?: number;
}

/** A label, drawn dimly, and its value: `["loss", "3.214"]`. Either may be empty. */
export type Part = readonly [label: string, value: string];

const redrawMs = 100;
const plainMs = 10_000;
const dim = (text: string) => `\x1b[2m${text}\x1b[22m`;

let shown: LiveLine | undefined;

/** Moves the cursor below the live line, if there is one, so that an error message has a line of its own. */
export const leaveLiveLine = (): void => shown?.end();

/**
 * One line that tells how a job goes. On a terminal it is drawn over, at most ten times a second, and cut to the width: parts
 * that no longer fit are left out from the end, so the important ones come first. Elsewhere a line is written every ten seconds.
 */
export class LiveLine {
  readonly #output: Output;
  readonly #color: boolean;
  #parts: readonly Part[] = [];
  #drawnAt = Number.NEGATIVE_INFINITY;
  #visible = false;

  constructor(output: Output = process.stdout) {
    this.#output = output;
    this.#color = output.isTTY === true && !process.env.NO_COLOR;
  }

  /** Shows the parts. `now` writes them whatever the time, as at the end. */
  show(parts: readonly Part[], now = false): void {
    this.#parts = parts;
    const time = performance.now();
    if (!now && time - this.#drawnAt < (this.#output.isTTY ? redrawMs : plainMs)) return;
    this.#drawnAt = time;
    if (this.#output.isTTY) this.#draw();
    else this.#output.write(`${plain(parts)}\n`);
  }

  /** Writes text, lines of its own, above the live line. */
  print(text: string): void {
    const clear = this.#visible ? "\r\x1b[K" : "";
    this.#output.write(`${clear}${text}\n`);
    if (this.#visible) this.#draw();
  }

  /** Leaves the line as it stands, with its last values, and goes to the next. */
  end(): void {
    if (this.#visible) {
      this.#draw();
      this.#output.write("\n");
    }
    this.#visible = false;
    if (shown === this) shown = undefined;
  }

  #draw(): void {
    // The last column stays free: some terminals wrap as soon as it is filled.
    const fitting = fit(this.#parts, (this.#output.columns ?? 80) - 1);
    const text = fitting.map(
      ([label, value]) => (label && this.#color ? dim(label) : label) + gap(label, value) + value,
    );
    this.#output.write(`\r\x1b[K${text.join("  ")}`);
    this.#visible = true;
    shown = this;
  }
}

const gap = (label: string, value: string) => (label && value ? " " : "");
const plain = (parts: readonly Part[]) => parts.map(([label, value]) => label + gap(label, value) + value).join("  ");

/** The first parts that fit into the width, at least one, if need be cut. */
export function fit(parts: readonly Part[], width: number): readonly Part[] {
  for (let amount = parts.length; amount > 1; amount--)
    if (unicodeWidth(plain(parts.slice(0, amount))) <= width) return parts.slice(0, amount);
  let text = plain(parts.slice(0, 1));
  if (unicodeWidth(text) <= width) return parts.slice(0, 1);
  while (text && unicodeWidth(text) > width - 1) text = [...text].slice(0, -1).join("");
  return [["", `${text}…`]];
}

export interface Progress {
  /** @param done of the total, not what was added; `total` where it has become better known */
  update(done: number, total?: number): void;
  /** Writes the last state with the time that it took. */
  finish(): void;
}

const barLength = 24;
const eighths = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/**
 * A bar for a job of known length: `tokenizing  ██████▍     43%  4.3 of 10.0 MB  0:12 left`.
 * @param total 0 where it is not known: then no bar and no time left
 * @param options.unit what is counted; `bytes` are shown as kB, MB, GB
 */
export function progressBar(
  label: string,
  total: number,
  options: { unit?: string; output?: Output; now?: () => number } = {},
): Progress {
  const { unit = "bytes", output = process.stdout, now = () => performance.now() } = options;
  const line = new LiveLine(output);
  const start = now();
  const amount = (value: number) => (unit === "bytes" ? bytes(value) : `${short(value)} ${unit}`);
  let all = total;
  let latest = 0;
  const parts = (last: boolean): Part[] => {
    const seconds = (now() - start) / 1000;
    if (last)
      return [
        ["", label],
        ["", amount(latest)],
        ["", `in ${duration(seconds)}`],
      ];
    if (!(all > 0))
      return [
        ["", label],
        ["", amount(latest)],
        ["", duration(seconds)],
      ];
    const share = Math.min(Math.max(latest / all, 0), 1);
    const percent = `${String(Math.floor(share * 100)).padStart(3)}%`;
    const left: Part[] = share > 0 && seconds > 1 ? [["", `${duration((seconds / share) * (1 - share))} left`]] : [];
    return [
      ["", label],
      ["", output.isTTY ? `${bar(share)} ${percent}` : percent],
      ["", `${amount(latest)} of ${amount(all)}`],
      ...left,
    ];
  };
  return {
    update(done, better = all) {
      latest = done;
      all = better;
      line.show(parts(false));
    },
    finish() {
      line.show(parts(true), true);
      line.end();
    },
  };
}

function bar(share: number): string {
  const filled = Math.floor(share * barLength * 8);
  const text = "█".repeat(Math.floor(filled / 8)) + eighths[filled % 8];
  return text.padEnd(barLength);
}
