import { collect, type Launch, releaseLaunches } from "../device/collect.ts";
import { type Tuned, tune } from "../device/tune.ts";
import { gpu } from "./engine.ts";
import { randomState, setRandomState } from "./random.ts";

export interface AutotuneOptions {
  /** Time for all of it (default 20 s); what is not reached keeps the kernel's own choice, or the nearest known. */
  budgetMs?: number;
  /** Leaves out launches of a class that was measured before (default true). */
  onlyNew?: boolean;
  onProgress?: (elapsedMs: number, launch: Launch) => void;
}

/**
 * Measures the kernels' tunings for just what a function runs, such as one training step, and keeps the winners in the
 * adapter's file. The function runs without its work: it changes no tensor, and what it reads back means nothing. Sums may come in another
 * order after it, so call it before a run, not within. With `MICROMIND_TUNE=off` it does nothing.
 */
export async function autotune(step: () => unknown, options: AutotuneOptions = {}): Promise<Tuned[]> {
  const { budgetMs = 20_000, onlyNew = true, onProgress } = options;
  const device = gpu();
  const { winners, target } = device;
  if (!winners) return [];
  const before = randomState();
  const launches = await collect(device, step);
  setRandomState(before);
  const wanted = launches.filter(
    ({ kernel, shape, uniforms }) => !onlyNew || !winners.has(kernel, shape, uniforms, target),
  );
  try {
    return wanted.length ? await tune(device, wanted, { budgetMs, onProgress }) : [];
  } finally {
    releaseLaunches(device, launches);
  }
}
