/**
 * A recipe without an engine: one weight, pulled to the batch's number, in float64. It has what a real one has, and can be
 * killed, stopped and made to fail by the step: `--trouble.<what> <step>`.
 */
import { appendFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { configure, count, key, main, Run, runKeys } from "../../framework/run/index.ts";

const trouble = (help: string) => count(0, help, 0);

export const toySchema = {
  train: { steps: count(20, "steps"), learningRate: key(0.1, "of the pull", { min: 0 }) },
  eval: { every: count(5, "steps", 0) },
  sample: { every: count(10, "steps", 0) },
  save: { every: count(4, "steps", 0) },
  trouble: {
    kill: trouble("kill -9 in this step"),
    interrupt: trouble("Ctrl-C in this step"),
    again: trouble("Ctrl-C once more in this step"),
    breaks: trouble("NaN from this step on"),
    fill: trouble("the disk is filled in this step"),
    throws: trouble("an error of ours in this step"),
    sleep: count(0, "ms that a step takes", 0),
  },
  seed: count(1, "of the batches", 0),
  run: runKeys("out/toy"),
};

export async function toyRecipe(args?: readonly string[]): Promise<void> {
  const config = configure("toy", toySchema, { about: "Learns a number.", args });
  const run = await Run.open<{ seed: number }>(config);
  const w = new Float64Array(1);
  if (run.resumed) w.set(run.resumed.tensors.get("w").data as Float64Array);
  const state = () => ({ tensors: { w: { shape: [1], dtype: "F64" as const, data: w } }, meta: { seed: config.seed } });
  const batchAt = (step: number) => Math.sin(step * 12.9898 + config.seed) * 43_758.5453;

  if (!run.resumed) run.log({ step: 0, valLoss: 9, bitsPerByte: 3 });
  for await (const { step, batch } of run.steps(batchAt, { total: config.train.steps })) {
    if (step === config.trouble.kill) process.kill(process.pid, "SIGKILL");
    if (step === config.trouble.interrupt) process.kill(process.pid, "SIGINT");
    if (step === config.trouble.again) process.kill(process.pid, "SIGINT");
    if (step === config.trouble.throws) throw new Error("a mistake");
    if (step === config.trouble.fill) fillDisk(dirname(run.dir));
    await sleep(config.trouble.sleep);
    const pull = (batch % 1) - w[0]!;
    const loss = config.trouble.breaks && step >= config.trouble.breaks ? Number.NaN : pull ** 2;
    w[0]! += config.train.learningRate * pull;
    run.log({ step, loss, gradNorm: Math.abs(pull), learningRate: config.train.learningRate, tokens: 100 });
    if (run.due("eval", step)) run.log({ step, valLoss: w[0]! ** 2, bitsPerByte: 1 });
    if (run.due("sample", step)) await run.sample(step, [{ prompt: "w = ", text: String(w[0]) }]);
    if (run.due("save", step)) await run.save(step, state());
  }
  run.finish({ next: `bun recipes/eval.ts --run ${run.dir}` });
}

/** Every page, down to the last. */
export function fillDisk(folder: string): void {
  for (const size of [1 << 16, 1 << 12, 1])
    try {
      for (let i = 0; i < 100; i++) appendFileSync(join(folder, "filler"), new Uint8Array(size));
    } catch {
      // As it is meant.
    }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(() => toyRecipe());
