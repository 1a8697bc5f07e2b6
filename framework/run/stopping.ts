import process from "node:process";
import { leaveLiveLine } from "./live.ts";

const codes = { SIGINT: 130, SIGTERM: 143 };
type Signal = keyof typeof codes;

/** Ctrl-C while a loop runs: the first asks it to end, the second ends the process. A scheduler's SIGTERM asks just so. */
export class Stopping {
  /** Whether the loop was asked to end. */
  asked = false;
  /** The exit code that the signal means. */
  exitCode = 0;
  readonly #print: (text: string) => void;
  #seenAt: number | undefined;
  #gaveUpAt: number | undefined;

  constructor(print: (text: string) => void) {
    this.#print = print;
  }

  readonly #handle = (signal: Signal): void => {
    if (this.asked) {
      leaveLiveLine();
      process.exit(codes[signal]);
    }
    this.asked = true;
    this.exitCode = codes[signal];
    this.#print("stopping after this step, with its state saved; Ctrl-C again: at once, without");
  };

  listen(): void {
    for (const signal of Object.keys(codes) as Signal[]) process.on(signal, this.#handle);
  }

  leave(): void {
    for (const signal of Object.keys(codes) as Signal[]) process.off(signal, this.#handle);
  }

  /** Saving failed at this step: the loop need not wait for it. */
  gaveUp(step: number): void {
    this.#gaveUpAt = step;
  }

  /**
   * Whether the loop ends after `step`. A signal may come when the step has already been asked whether to save: then one more step
   * is made, which is.
   */
  ends(step: number, saved: number): boolean {
    if (!this.asked) return false;
    if (saved === step || this.#gaveUpAt === step || this.#seenAt !== undefined) return true;
    this.#seenAt = step;
    return false;
  }
}
