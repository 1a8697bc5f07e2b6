/** What the recipes of all stages share around their loops: keys of their configs, a step, and what follows it. */
import { init, noGrad, optim, scope, type Tensor } from "../../framework/index.ts";
import type { TrainingState } from "../../framework/model/state.ts";
import type { RunConfig } from "../../framework/run/folder.ts";
import { applyTunings, type ConfigOf, count, key, Run, tuneModes } from "../../framework/run/index.ts";
import { gpu } from "../../framework/tensor/engine.ts";

/** Keys that a stage takes over from the run that it starts from. */
export const inherited = ["data.seqLen", "train.batchSize", "train.precision", "train.checkpointing"];
/** Keys that a resumed run cannot change, beside those of the stage's own loss. */
export const fixedKeys = [
  ...["from", "data", "model", "tokenizer", "seed"],
  ...["steps", "epochs", "batchSize", "accumulate", "precision", "tune"].map((name) => `train.${name}`),
];

/** Opens the device, and the run with the tunings that it is to be computed by. */
export async function openRun<Meta extends TrainingState["meta"] = TrainingState["meta"]>(
  config: RunConfig & { train: { tune: (typeof tuneModes)[number] } },
): Promise<Run<Meta>> {
  await init({ verbose: true });
  const run = await Run.open<Meta>(config);
  applyTunings(run, config.train.tune);
  return run;
}

interface TrainDefaults {
  epochs: number;
  learningRate: number;
  warmup: number;
  batchSize?: number;
  weightDecay?: number;
  beta2?: number;
}

export const trainKeys = ({ epochs, learningRate, warmup, ...more }: TrainDefaults) => ({
  steps: count(0, "optimizer steps in all; 0: as many as the epochs take", 0),
  epochs: key(epochs, "passes over the data, where steps is 0", { min: 0 }),
  batchSize: count(more.batchSize ?? 8, "rows per forward pass"),
  accumulate: count(1, "forward passes per step, their gradients averaged"),
  learningRate: key(learningRate, "at its peak", { min: 0 }),
  schedule: key("cosine", "how it falls", { choices: optim.scheduleNames }),
  warmup: count(warmup, "steps in which it rises", 0),
  clip: key(1, "largest gradient norm; 0 does not clip", { min: 0 }),
  weightDecay: key(more.weightDecay ?? 0, "decoupled weight decay", { min: 0 }),
  beta2: key(more.beta2 ?? 0.95, "AdamW's second beta", { min: 0, max: 1 }),
  precision: key("f32", "f16: activations and products in half precision, weights and sums in f32", {
    choices: optim.precisions,
  }),
  checkpointing: key(false, "recompute activations layer by layer: less memory, a third more work"),
  tune: key(
    "auto",
    "measure kernels before the first step: auto: on GPUs, what is new there; on: all of them; off: kernels pick, whatever was measured",
    { choices: tuneModes },
  ),
});

/** Where conversations are and how they are read. */
export const conversationKeys = ({ valShare = 0.02 } = {}) => ({
  path: key(
    "",
    'conversations, JSONL: {"conversations"} as MiniMind\'s, ShareGPT, {"messages"}, Alpaca; .gz, folder, glob; empty: the corpus that ships',
  ),
  heldOut: key(
    "",
    "conversations whose last reply is asked for, never trained on; empty: the corpus' with its data, else none",
  ),
  seqLen: count(128, "tokens per row (the base's, where it is a run)", 2),
  truncate: key("end", "what a conversation longer than a row loses", { choices: ["end", "start"] }),
  valShare: key(valShare, "share of the conversations kept for the validation loss", { min: 0, max: 0.5 }),
  onError: key("error", "what a bad line does", { choices: ["error", "skip"] }),
  workers: key(
    null,
    "threads that tokenize (default: one less than the cores); 0: batches too are assembled without one",
    { type: "number", min: 0, whole: true },
  ),
});

type Train = ConfigOf<ReturnType<typeof trainKeys>>;

/** The optimizer that these keys ask for. */
export const adamW = (parameters: Map<string, Tensor>, { beta2, weightDecay, precision }: Train): optim.AdamW =>
  new optim.AdamW(parameters, { betas: [0.9, beta2], weightDecay, precision });

/** The learning rate of a step, of `total` in all. */
export const rateAt = ({ schedule, learningRate, warmup }: Train, step: number, total: number): number =>
  optim.learningRateAt(schedule, step - 1, { learningRate, total, warmup });

export const saveKeys = (every: number) => ({
  every: count(every, "steps between saves of the state that --resume goes on from; 0: only at the end", 0),
});

/** Steps of a run in all. */
export function totalSteps(
  { steps, epochs, accumulate }: { steps: number; epochs: number; accumulate: number },
  batchesPerEpoch: number,
): number {
  return steps || Math.max(1, Math.ceil((epochs * batchesPerEpoch) / accumulate));
}

/** What a step's loss function gives: the loss, and figures of one number each that are logged beside it. */
export type Losses = { loss: Tensor } & Record<string, Tensor>;

/** One step: gradients of all parts, averaged, and the update. Gives the means of what `lossOf` gave. */
export function learn<Part, L extends Losses>(
  optimizer: optim.Optimizer,
  parts: readonly Part[],
  lossOf: (part: Part) => L,
  { learningRate, clip }: { learningRate: number; clip: number },
): L {
  optimizer.zeroGrad();
  const each = parts.map((part) =>
    scope(() => {
      const losses = lossOf(part);
      losses.loss.mul(1 / parts.length).backward();
      return losses;
    }),
  );
  const losses = averaged(each);
  optimizer.step({ learningRate, clip, loss: losses.loss });
  return losses;
}

function averaged<L extends Losses>(each: readonly L[]): L {
  if (each.length === 1) return each[0];
  const mean = (name: string) =>
    scope(() => each.reduce((sum, losses) => sum.add(losses[name]), each[0][name].mul(0)).mul(1 / each.length));
  const means = noGrad(() => Object.fromEntries(Object.keys(each[0]).map((name) => [name, mean(name)])));
  each.forEach(discard);
  return means as L;
}

/** Frees what a step gave. */
export function discard(losses: Losses): void {
  for (const tensor of Object.values(losses)) tensor.dispose();
}

type Samples = Parameters<Run["sample"]>[1];

interface Following {
  optimizer: optim.Optimizer;
  tokensPerStep: number;
  /** Figures of held-out data. */
  evaluate?: (step: number) => Promise<Record<string, number>>;
  samples?: () => Samples | Promise<Samples>;
  /** Writes state and model. */
  save: (step: number) => Promise<unknown>;
}

/**
 * What follows each step: its figures are read while the device works on the next one, logged, and then comes what is due, evaluation,
 * samples, saving. Those wait for their own step.
 */
export class Aftermath {
  #unread: Promise<Reported> | undefined;

  constructor(
    private readonly run: Run,
    private readonly options: Following,
  ) {}

  /** @param losses what `learn` gave; disposed here */
  async after(step: number, losses: Losses, learningRate: number): Promise<void> {
    const { run } = this;
    const { evaluate, samples, save } = this.options;
    const reported = this.report(step, losses, learningRate);
    if (this.#unread) this.log(await this.#unread);
    const due = {
      eval: run.due("eval", step) && evaluate,
      sample: run.due("sample", step) && samples,
      save: run.due("save", step),
    };
    this.#unread = due.eval || due.sample || due.save ? undefined : reported;
    if (this.#unread) return;
    const counted = this.log(await reported);
    if (due.eval) run.log({ step, ...(await due.eval(step)) });
    if (due.sample) await run.sample(step, await due.sample());
    if (due.save && (counted || step === run.total)) await save(step);
  }

  /** Logs the last step, where the loop was left before its figures were read. */
  async end(): Promise<void> {
    if (this.#unread) this.log(await this.#unread);
    this.#unread = undefined;
  }

  private report(step: number, { loss, ...more }: Losses, learningRate: number): Promise<Reported> {
    const reported = this.options.optimizer.report(loss, more).then((figures) => {
      this.run.computed(step);
      discard({ loss, ...more });
      return { ...figures, step, learningRate };
    });
    reported.catch(() => {}); // thrown where it is awaited
    return reported;
  }

  private log({ counted, ...figures }: Reported): boolean {
    const memory = gpu().pool.stats.liveBytes;
    this.run.log({ ...figures, skipped: !counted, tokens: this.options.tokensPerStep, memory });
    return counted;
  }
}

type Reported = optim.StepReport & { step: number; learningRate: number };
