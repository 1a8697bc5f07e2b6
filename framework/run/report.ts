/** What a run says in words. */
import { duration, figure } from "./format.ts";
import type { MetricsLine, MetricsLog } from "./metrics.ts";

/** Figures of a step. All but the named ones go to metrics.jsonl as they are. */
export interface StepLog {
  /** The step's number, counted from 1; 0 is before the first. */
  step: number;
  /** Mean over the tokens of the batch, nats. */
  loss?: number;
  learningRate?: number;
  /** Norm of all gradients, before clipping. */
  gradNorm?: number;
  /** Tokens of the batch. */
  tokens?: number;
  /** Bytes in use on the device. */
  memory?: number;
  /** At evaluations. */
  valLoss?: number;
  bitsPerByte?: number;
  /** Whether the step's update was left out; see `Run.skip`. */
  skipped?: boolean;
  /** In f16: whether it was, for a gradient beyond the range, and what gradients are multiplied by. */
  overflow?: boolean;
  lossScale?: number;
  [name: string]: number | boolean | undefined;
}

const named = new Set([
  ...["step", "loss", "learningRate", "gradNorm", "tokens", "memory", "valLoss", "bitsPerByte"],
  ...["skipped", "overflow", "lossScale"],
]);

/** The figures that only some recipes have, as words: `exactMatch: 0.8` becomes `["exact match", "0.800"]`. */
export function ownFigures(figures: StepLog): [name: string, value: string][] {
  return Object.entries(figures).flatMap(([name, value]): [string, string][] =>
    named.has(name) || typeof value !== "number"
      ? []
      : [[name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`), figure(value)]],
  );
}

/** `step 100  validation loss 3.2140  1.31 bits per byte  exact match 0.800  loss 3.3010` */
export function evaluationText(figures: StepLog, lastLoss: unknown): string {
  const { step, valLoss, bitsPerByte, loss } = figures;
  const bits = bitsPerByte === undefined ? "" : `  ${bitsPerByte.toFixed(3)} bits per byte`;
  const own = ownFigures(figures).map(([name, value]) => `  ${name} ${value}`);
  const shown = loss ?? lastLoss;
  const training = typeof shown === "number" ? `  loss ${figure(shown)}` : "";
  const validation = valLoss === undefined ? "" : `  validation loss ${figure(valLoss)}`;
  return `step ${step}${validation}${bits}${own.join("")}${training}`;
}

export interface Divergence {
  recipe: string;
  dir: string;
  /** The steps in a row that were not finite. */
  broken: readonly StepLog[];
  /** The last line that was. */
  good: MetricsLine | undefined;
  /** The step of the last state saved, 0 for none. */
  saved: number;
}

/** The report of a run that was stopped: what was seen, and what to try. */
export function divergedText({ recipe, dir, broken, good, saved }: Divergence): string {
  const rows = [...(good ? [good as StepLog] : []), ...broken].map(({ step, loss, gradNorm, learningRate }) => [
    String(step),
    ...[loss, gradNorm, learningRate].map((value) => (value === undefined ? "-" : figure(value))),
  ]);
  const table = [["step", "loss", "gradient norm", "learning rate"], ...rows].map(
    (row) => `  ${row.map((cell, index) => cell.padStart([8, 10, 15, 15][index]!)).join("")}`,
  );
  const { learningRate } = broken.at(-1)!;
  const lower = learningRate ? ` (it was ${figure(learningRate)}; try ${figure(learningRate / 3)})` : "";
  const again =
    saved > 0
      ? `the state of step ${saved} is good: bun recipes/${recipe}.ts --resume ${dir} --train.learningRate …`
      : "no state was saved before it went wrong: start anew";
  return [
    `${dir}: loss or gradients were not finite in ${broken.length} steps in a row, so the run stops`,
    ...table,
    "What helps, in this order:",
    `  - a lower --train.learningRate${lower} or a longer --train.warmup`,
    "  - a smaller --train.clip, if the gradient norm rose before",
    "  - f32 in place of f16, if that is on",
    "  - a look at the data of these steps: broken text, or documents of a single repeated token",
    `Of this run ${again}`,
  ].join("\n");
}

export interface Summary {
  dir: string;
  step: number;
  total: number;
  skipped: number;
  seconds: number;
  metrics: MetricsLog;
}

/** `out/pretrain: 1000 of 1000 steps in 2:43, loss 2.3140, validation loss 7.0 → 2.4` */
export function summaryText({ dir, step, total, skipped, seconds, metrics }: Summary): string {
  const parts = [`${step < total ? `stopped after step ${step} of ${total}` : `${total} steps`}, ${duration(seconds)}`];
  if (typeof metrics.last?.loss === "number") parts.push(`loss ${figure(metrics.last.loss)}`);
  const [first, last] = [metrics.valLoss[0], metrics.valLoss.at(-1)];
  if (first && last)
    parts.push(`validation loss ${first === last ? "" : `${figure(first.value)} → `}${figure(last.value)}`);
  if (skipped > 0) parts.push(`${skipped} skipped because loss or gradients were not finite`);
  return `${dir}: ${parts.join(", ")}`;
}
