/**
 * Preference optimization: of two replies to a prompt, make the chosen one likelier than the rejected one, measured against the model
 * as it was. Direct preference optimization, Rafailov et al. 2023, arXiv:2305.18290; or IPO, or SimPO, which needs no reference.
 *   bun recipes/dpo.ts                                          from out/sft, the shipped preferences
 *   bun recipes/dpo.ts --from out/sft --data.path dpo.jsonl --dpo.beta 0.1 --train.learningRate 4e-8
 */
import { join } from "node:path";
import { documents, parseLine } from "../framework/data/documents.ts";
import { DataError, resolveFiles } from "../framework/data/files.ts";
import { parsePreference } from "../framework/data/pairs.ts";
import { openPreferences, type PreferenceBatch, type Preferences } from "../framework/data/preferences.ts";
import {
  type CausalLM,
  type LogProbsOptions,
  manualSeed,
  noGrad,
  saveModel,
  scope,
  stack,
  Tensor,
} from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import { restore, snapshot, type TrainingState } from "../framework/model/state.ts";
import { measureRates } from "../framework/ops/measure.ts";
import { ConfigError, configure, count, key, main, runKeys, tuneStep } from "../framework/run/index.ts";
import { keepBase, openBase, startOf } from "./shared/base.ts";
import { dpoLoss, ipoLoss, preferenceFigures, type Replies, replyLogProbs, simpoLoss } from "./shared/preference.ts";
import { filled, openReference } from "./shared/reference.ts";
import { promptIds, type Question, replySamples, spread } from "./shared/replies.ts";
import {
  Aftermath,
  adamW,
  fixedKeys,
  inherited,
  type Losses,
  learn,
  openRun,
  rateAt,
  saveKeys,
  totalSteps,
  trainKeys,
} from "./shared/stage.ts";
import { withTokenizingBar } from "./shared/tokens.ts";

const corpus = (name: string) => join(import.meta.dirname, "corpus", name);
/** How strongly each loss pulls, where dpo.beta says nothing. */
const betas = { dpo: 0.1, ipo: 0.1, simpo: 2 };

const schema = {
  from: key("out/sft", "model to start from, and to measure against: a run's folder, or a Hugging Face folder"),
  data: {
    path: key("", 'preferences, JSONL of {"chosen", "rejected"}; .gz, folder, glob; empty: the corpus that ships'),
    heldOut: key("", "preferences never trained on; empty: the corpus' with its data, else none"),
    seqLen: count(128, "tokens of prompt and reply (the base's, where it is a run)", 2),
    truncate: key("start", "what a pair longer than that loses: of its prompt the start, or the replies' ends", {
      choices: ["start", "end"],
    }),
    onError: key("error", "what a bad line does", { choices: ["error", "skip"] }),
    workers: key(null, "threads that tokenize (default: one less than the cores)", {
      type: "number",
      min: 0,
      whole: true,
    }),
  },
  dpo: {
    loss: key("dpo", "dpo; ipo, whose margin has a target; simpo, without a reference", {
      choices: ["dpo", "ipo", "simpo"],
    }),
    beta: key(null, "strength: dpo and ipo hold on to the reference (0.1), simpo scales its reward (2)", {
      type: "number",
      min: 1e-6,
    }),
    labelSmoothing: key(0, "how often a preference is the wrong way round; dpo and simpo", { min: 0, max: 0.5 }),
    gamma: key(1, "simpo: the margin that rewards are to keep", { min: 0 }),
    precompute: key(true, "ask the reference once, before training, and keep its answers; false: it stays in memory"),
  },
  train: {
    ...trainKeys({ epochs: 1, learningRate: 2e-5, warmup: 10 }),
    batchSize: count(8, "pairs per forward pass, two rows each (the base's rows, where it is a run)"),
  },
  eval: {
    every: count(25, "steps between evaluations; 0: only at the end", 0),
    batches: count(0, "batches of an evaluation; 0: all held-out pairs", 0),
  },
  sample: {
    every: count(0, "steps between samples; 0: only before and after", 0),
    count: count(4, "held-out prompts to show"),
    tokens: count(64, "tokens of a reply at most"),
  },
  save: saveKeys(100),
  seed: key(1, "of shuffle and dropout", { whole: true }),
  run: runKeys("out/dpo"),
};

/** What a resumed run must find: the data, and the model that it began with. */
type Meta = TrainingState["meta"] & { reference?: string };

await main(async () => {
  const config = configure("dpo", schema, {
    about: "Makes a model prefer the chosen of two replies, by DPO, IPO or SimPO.",
    presets: "",
    inherit: inherited,
    examples: [
      "bun recipes/dpo.ts",
      "bun recipes/dpo.ts --from out/sft --data.path dpo.jsonl --train.learningRate 4e-8",
      "bun recipes/dpo.ts --dpo.loss simpo --run.dir out/simpo",
      "bun recipes/dpo.ts --resume",
    ],
    fixed: [...fixedKeys, ...["loss", "beta", "labelSmoothing", "gamma"].map((name) => `dpo.${name}`)],
  });
  const { train, data, seed, dpo } = config;
  if (dpo.loss === "ipo" && dpo.labelSmoothing > 0)
    throw new ConfigError("--dpo.labelSmoothing: ipo has none, its target margin holds it back; leave it out");
  keepBase(config);
  const run = await openRun<Meta>(config);
  const base = await openBase(startOf(run, config.from), { seqLen: data.seqLen });
  const { model, tokenizer } = base;
  prepare(model);
  const open = (path: string) =>
    withTokenizingBar((onProgress) => {
      const { seqLen, truncate, onError, workers } = data;
      const options = { seqLen, truncate, onError, workers: workers ?? undefined, onProgress };
      return openPreferences(path, tokenizer, { ...options, batchSize: train.batchSize, seed });
    });
  const batches = await open(data.path || corpus("dpo.jsonl"));
  const heldOut = data.heldOut || (data.path ? "" : corpus("dpo.heldout.jsonl"));
  const held = heldOut ? await open(heldOut) : undefined;
  const prompts = await readPrompts(heldOut, data.onError);
  const total = totalSteps(train, batches.perEpoch);

  const beta = dpo.beta ?? betas[dpo.loss];
  const average = dpo.loss !== "dpo"; // IPO and SimPO look at the mean over a reply's tokens
  const reference =
    dpo.loss === "simpo"
      ? undefined
      : await openReference({
          from: config.from,
          load: async () => prepare((await openBase(config.from)).model),
          score: repliesOf,
          sets: { train: batches, ...(held ? { heldOut: held } : {}) },
          file: dpo.precompute ? run.path("reference.safetensors") : undefined,
          settings: { average, precision: train.precision },
          began: run.resumed?.meta.reference,
        });

  manualSeed(seed);
  const optimizer = adamW(model.namedParameters(), train);
  const { gradientScale } = optimizer;
  if (run.resumed) restore(run.resumed, model, optimizer, batches.key);
  const tokensPerStep = 2 * train.batchSize * train.accumulate * data.seqLen;
  run.print(`${summary(batches)}; ${held?.pairs ?? 0} held out; ${model.numParameters()} parameters`);
  const passes = ((total * train.accumulate) / batches.perEpoch).toFixed(1);
  run.print(`${total} steps of ${train.batchSize * train.accumulate} pairs: ${passes} passes over the data`);
  run.print(`loss ${dpo.loss}, beta ${beta}${reference ? `, measured against ${config.from}` : ""}`);

  const { flops: peakFlops } = await measureRates();
  const done = run.resumed?.step ?? 0;
  const partsOf = (step: number) =>
    Array.from({ length: train.accumulate }, (_, i) => batches.at((step - 1) * train.accumulate + i));
  const stepOn = (parts: PreferenceBatch[], learningRate: number) =>
    learn(optimizer, parts, (part) => lossOf("train", part, { gradientScale }), { learningRate, clip: train.clip });
  if (done === 0) {
    await tuneStep(train.tune, () => scope(() => void stepOn(partsOf(1), 1)));
    if (held) run.log({ step: 0, ...(await evaluate(held)) });
    if (held) await run.sample(0, await samples());
  }
  tokenizer.save(run.dir);
  const aftermath = new Aftermath(run, {
    optimizer,
    tokensPerStep,
    evaluate: held && (() => evaluate(held)),
    samples: held && samples,
    save(step) {
      const state = snapshot(model, optimizer, batches.key);
      const meta: Meta = { ...state.meta, reference: reference?.weights };
      return run.save(step, { ...state, meta }, () => saveModel(model, run.dir, tokenizer));
    },
  });
  for await (const { step, batch } of run.steps(partsOf, {
    total,
    peakFlops,
    flopsPerToken: flopsPerToken(model.config),
  })) {
    const learningRate = rateAt(train, step, total);
    await aftermath.after(step, stepOn(batch, learningRate), learningRate);
  }
  await aftermath.end();
  run.finish({ next: `bun recipes/chat.ts --run ${run.dir}` });
  batches.close();
  held?.close();

  function prepare(lm: CausalLM): CausalLM {
    lm.model.checkpointing = train.checkpointing;
    lm.model.precision = train.precision;
    return lm;
  }

  /** log π(reply | prompt) of a batch's replies: the sum over the reply's tokens, or their mean. */
  function repliesOf(lm: CausalLM, batch: PreferenceBatch, options: LogProbsOptions = {}): Replies {
    const { tokens, labels } = batch;
    const rows = (values: Int32Array) => Tensor.from(values, { shape: [values.length / data.seqLen, data.seqLen] });
    const targets = rows(labels);
    return replyLogProbs(lm.logProbs(rows(tokens), targets, options), targets, {
      average,
      pairs: filled(batch).length,
    });
  }

  /** The stage's loss, and figures beside it. In training a model of experts adds its balance loss. */
  function lossOf(set: "train" | "heldOut", batch: PreferenceBatch, options: LogProbsOptions = {}): Losses {
    const balance: Tensor[] = [];
    const policy = repliesOf(model, batch, set === "train" ? { ...options, balance } : options);
    const { labelSmoothing, gamma } = dpo;
    const { loss, rewards } =
      reference === undefined
        ? simpoLoss(policy, { beta, gamma, labelSmoothing })
        : dpo.loss === "ipo"
          ? ipoLoss(policy, reference.of(set, batch), { beta })
          : dpoLoss(policy, reference.of(set, batch), { beta, labelSmoothing });
    const figures = preferenceFigures(policy, rewards);
    if (balance.length === 0) return { loss, ...figures };
    const auxLoss = model.auxLoss(balance, options);
    return { loss: loss.add(auxLoss), auxLoss, ...figures };
  }

  /** The loss and its figures over held-out pairs. */
  async function evaluate(pairs: Preferences): Promise<Record<string, number>> {
    const sums: Record<string, number> = {};
    const most = Math.min(pairs.perEpoch, config.eval.batches || pairs.perEpoch);
    let seen = 0;
    for (let n = 0; n < most; n++) {
      const batch = pairs.inOrder(n);
      const weight = filled(batch).length;
      const figures = Object.entries(await read(() => lossOf("heldOut", batch)));
      for (const [name, figure] of figures) sums[name] = (sums[name] ?? 0) + figure * weight;
      seen += weight;
    }
    const { loss: valLoss, ...means } = Object.fromEntries(
      Object.entries(sums).map(([name, sum]) => [name, sum / seen]),
    );
    return { valLoss, ...means };
  }

  /** Some held-out prompts with the model's replies. Training cuts long prompts; a reply needs the whole. */
  function samples() {
    const fits = (prompt: Question) => promptIds(tokenizer, prompt).length < model.config.max_position_embeddings;
    const shown = spread(prompts, config.sample.count).filter(fits);
    return replySamples(base, shown, { count: 0, maxNewTokens: config.sample.tokens });
  }
});

/** What was read, with all that was left out or cut. */
function summary({ pairs, info: { truncated, untrained, skipped, skippedExamples } }: Preferences): string {
  const counted = (n: number, what: string) => (n > 0 ? `, ${n} ${what}` : "");
  return `${pairs} pairs${counted(truncated, "cut")}${counted(untrained, "left out for lack of a reply")}${counted(skipped, `bad lines left out, such as ${skippedExamples[0]}`)}`;
}

/** The prompts of preferences; none where there is no path. */
async function readPrompts(path: string, onError: "error" | "skip"): Promise<Question[]> {
  const prompts: Question[] = [];
  if (path === "") return prompts;
  for await (const { text, file, line } of documents(resolveFiles(path), { stage: "preferences", onError })) {
    const where = `${file}:${line}`;
    try {
      const { messages, tools } = parsePreference(parseLine(text, where, "preferences"), where).chosen;
      prompts.push({ messages: messages.slice(0, -1), tools, reply: messages.at(-1)!.content });
    } catch (error) {
      if (onError === "error" || !(error instanceof DataError)) throw error;
    }
  }
  return prompts;
}

/** Runs without a graph and reads the numbers that come of it. */
async function read(figures: () => Losses): Promise<Record<string, number>> {
  const { names, all } = noGrad(() =>
    scope(() => {
      const made = figures();
      return { names: Object.keys(made), all: stack(Object.values(made)) };
    }),
  );
  const values = await all.data();
  all.dispose();
  return Object.fromEntries(names.map((name, i) => [name, values[i]]));
}
