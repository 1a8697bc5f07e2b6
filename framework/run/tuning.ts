import { type Tunings, Winners } from "../device/winners.ts";
import { autotune } from "../tensor/autotune.ts";
import { gpu } from "../tensor/engine.ts";
import { type Output, progressBar } from "./live.ts";

/** Choices of `train.tune`. */
export const tuneModes = ["auto", "on", "off"] as const;
type Mode = (typeof tuneModes)[number];

interface TunedRun {
  /** Its meta holds `tunings`, as `snapshot` of a model has put them there. */
  resumed: { meta: { tunings?: Tunings } } | undefined;
  print(line: string): void;
}

/**
 * Settles by which tunings a run computes; to be called before it computes anything. `off`: by what kernels pick, whatever was measured. A resumed run goes by
 * those that it was saved with, since sums in another order are other bits; a line says where that cannot be.
 */
export function applyTunings(run: TunedRun, mode: Mode): void {
  const device = gpu();
  const kept = run.resumed?.meta.tunings; // none in states of earlier versions
  if (!run.resumed && mode === "off" && device.winners) device.useWinners(new Winners(device.winners.adapter));
  if (!kept) return;
  const wrong = (why: string) => run.print(`--resume: ${why}, so the run does not go on bit for bit`);
  const winners = Winners.of(kept);
  if (!winners) wrong("the state's tunings are damaged");
  else if (kept.adapter !== device.tunings.adapter) wrong(`the run was computed by "${kept.adapter}"`);
  else if (device.winners) device.useWinners(winners);
  else if (Object.keys(kept.kernels).length > 0) wrong("MICROMIND_TUNE=off leaves out the tunings that it had");
}

/**
 * Measures the kernels of a step before the first one, with a bar. `auto`: on GPUs, those that were never measured there; `on`: all, on
 * any adapter; `off`: none. The step runs without its work: see {@link autotune}.
 */
export async function tuneStep(
  mode: Mode,
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
