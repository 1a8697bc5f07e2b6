import { existsSync } from "node:fs";
import { join } from "node:path";
import { Winners } from "../device/winners.ts";
import { autotune } from "../tensor/autotune.ts";
import { gpu } from "../tensor/engine.ts";
import { type Output, progressBar } from "./live.ts";

/** Choices of `train.tune`. */
export const tuneModes = ["auto", "on", "off"] as const;

interface TunedRun {
  dir: string;
  /** Undefined where the run begins. */
  resumed: unknown;
  print(line: string): void;
}

/**
 * Settles by which tunings a run computes, before its first step. One that begins measures the step's kernels, with a bar. `auto`: on GPUs, those
 * that were never measured there; `on`: all, on any adapter; `off`: none, and what is known does not count. The step runs without its work: see
 * {@link autotune}. What holds then is kept in the run's folder, and holds when it is resumed: sums in another order are other bits.
 */
export async function tuneStep(
  run: TunedRun,
  mode: (typeof tuneModes)[number],
  step: () => unknown,
  { budgetMs = 20_000, output }: { budgetMs?: number; output?: Output } = {},
): Promise<void> {
  const { winners } = gpu();
  if (!winners) return; // MICROMIND_TUNE=off
  const path = join(run.dir, "tunings.json");
  if (run.resumed) {
    const own = new Winners(winners.adapter, path);
    const wrong = own.read();
    if (wrong) run.print(`${path}: ${wrong}; the run goes on by this machine's tunings, and so not bit for bit`);
    else if (existsSync(path)) gpu().useWinners(own);
    return;
  }
  if (mode === "off") gpu().useWinners(new Winners(winners.adapter));
  else if (mode === "on" || gpu().target.class !== "software") await measure(mode, step, budgetMs, output);
  gpu().winners?.saveAs(path, (line) => run.print(line));
}

async function measure(mode: "auto" | "on", step: () => unknown, budgetMs: number, output?: Output): Promise<void> {
  let bar: ReturnType<typeof progressBar> | undefined;
  const onProgress = (elapsedMs: number) => {
    bar ??= progressBar("tuning kernels", budgetMs / 1000, { unit: "s", output });
    bar.update(elapsedMs / 1000);
  };
  await autotune(step, { budgetMs, onlyNew: mode === "auto", onProgress });
  bar?.finish();
}
