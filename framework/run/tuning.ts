import { autotune } from "../tensor/autotune.ts";
import { gpu } from "../tensor/engine.ts";
import { type Output, progressBar } from "./live.ts";

/** Choices of `train.tune`. */
export const tuneModes = ["auto", "on", "off"] as const;

/**
 * Measures the kernels of a step before the first one, with a bar. `auto`: on GPUs, those that were never measured there; `on`: all, on
 * any adapter; `off`: none (what is known counts all the same). The step runs without its work: see {@link autotune}.
 */
export async function tuneStep(
  mode: (typeof tuneModes)[number],
  step: () => unknown,
  { budgetMs = 20_000, output }: { budgetMs?: number; output?: Output } = {},
): Promise<void> {
  if (mode === "off" || (mode === "auto" && gpu().target.class === "software")) return;
  let bar: ReturnType<typeof progressBar> | undefined;
  const onProgress = (elapsedMs: number) => {
    bar ??= progressBar("tuning kernels", budgetMs / 1000, { unit: "s", output });
    bar.update(elapsedMs / 1000);
  };
  await autotune(step, { budgetMs, onlyNew: mode === "auto", onProgress });
  bar?.finish();
}
