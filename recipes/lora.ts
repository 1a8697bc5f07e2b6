/**
 * LoRA: teaches a model something new by small matrices beside its frozen weights, W x + (alpha / rank) · B A x. The loss is SFT's.
 * Hu et al. 2021, arXiv:2106.09685
 *   bun recipes/lora.ts                                       from out/sft, who the model is: out/lora/identity
 *   bun recipes/lora.ts --lora.name medical --merge true      another adapter, and a whole model with it
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { stepBatches } from "../framework/data/ahead.ts";
import type { Batch } from "../framework/data/batches.ts";
import {
  adaptableNames,
  type CausalLM,
  LoraAdapter,
  type LossOptions,
  loraTargets,
  manualSeed,
  saveAdapter,
  saveModel,
  type Tensor,
} from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import { restore, snapshot } from "../framework/model/state.ts";
import { measureRates } from "../framework/ops/measure.ts";
import { ConfigError, configure, count, key, main, runKeys, tuneStep } from "../framework/run/index.ts";
import { fingerprint, keepBase, openBase } from "./shared/base.ts";
import { askAll, exactMatch, readQuestions, replySamples, spread } from "./shared/replies.ts";
import {
  Aftermath,
  adamW,
  conversationKeys,
  fixedKeys,
  inherited,
  learn,
  openRun,
  rateAt,
  saveKeys,
  totalSteps,
  trainKeys,
} from "./shared/stage.ts";
import { dataSummary, heldOutLoss, openConversations, upload } from "./shared/tokens.ts";

const corpus = (name: string) => join(import.meta.dirname, "corpus", name);

const schema = {
  from: key("out/sft", "model to adapt, which stays as it is: a run's folder, or a Hugging Face folder"),
  lora: {
    name: key("identity", "the adapter's name: its folder, and which of the corpus' files it learns"),
    rank: count(5, "columns of A and B: what can be learnt, and what it takes"),
    alpha: key(16, "the adapter's product counts alpha / rank times", { min: 0 }),
    dropout: key(0, "share of the adapter's input that is dropped in training", { min: 0, max: 0.9 }),
    targets: key(
      [] as string[],
      `projections that get an adapter, of ${loraTargets.join(", ")}; empty: all that the model has`,
    ),
  },
  data: {
    ...conversationKeys({ valShare: 0 }),
    path: key("", "conversations, as for sft; empty: recipes/corpus/<lora.name>.jsonl"),
    replay: count(3, "rows of the base's own data beside each step's, so that it forgets less; 0: none", 0),
    basePath: key("", "the base's data for that; empty: the corpus' sft.jsonl with its data, else none"),
    baseHeldOut: key("", "questions that the base was trained for; empty: the corpus' with its data, else none"),
  },
  train: trainKeys({ epochs: 5, learningRate: 3e-3, warmup: 20, batchSize: 5 }),
  eval: {
    every: count(200, "steps between evaluations; 0: only at the end", 0),
    batches: count(16, "batches of the validation loss"),
    questions: count(
      100,
      "held-out questions asked at each evaluation, and as many of the base's; at the start and the end all are; 0: all always",
      0,
    ),
    tokens: count(64, "tokens of a reply at most"),
  },
  sample: {
    every: count(200, "steps between samples; 0: only at the end", 0),
    count: count(6, "held-out questions to show"),
  },
  save: saveKeys(400),
  merge: key(
    "",
    "at the end, write a model with the adapter in its weights to this folder; true: to the run's merged/",
  ),
  seed: key(1, "of A, shuffle and dropout", { whole: true }),
  run: runKeys("out/lora/{lora.name}"),
};

await main(async () => {
  const config = configure("lora", schema, {
    about: "Trains a low-rank adapter on conversations; the model itself stays as it is.",
    presets: "",
    inherit: inherited.filter((name) => name !== "train.batchSize"), // the base's data fills batches of its own
    examples: [
      "bun recipes/lora.ts",
      "bun recipes/lora.ts --lora.name medical",
      "bun recipes/lora.ts --from qwen3-0.6b --lora.name mine --data.path mine.jsonl --lora.rank 8 --lora.alpha 16 --train.learningRate 2e-4 --train.epochs 3",
      "bun recipes/lora.ts --resume out/lora/identity --merge out/me",
    ],
    fixed: [...fixedKeys, "lora"],
  });
  const { train, seed, lora } = config;
  const data = { ...config.data, ...filesOf(lora.name, config.data) };
  const mergeInto = config.merge === "true" ? join(config.run.dir, "merged") : config.merge;
  keepBase(config);
  const run = await openRun(config);
  const base = await openBase(config.from, { seqLen: data.seqLen });
  const { model, tokenizer } = base;
  if (mergeInto) expectFree(mergeInto, run.dir);
  model.model.checkpointing = train.checkpointing;
  model.model.precision = train.precision;
  model.freeze({ halves: train.precision === "f16" });
  const { shards, rows, batches, held } = await openConversations(data.path, tokenizer, {
    ...data,
    batchSize: train.batchSize,
    seed,
  });
  const replayed = { ...data, batchSize: data.replay, valShare: 0, seed };
  const replay =
    data.replay > 0 && data.basePath ? await openConversations(data.basePath, tokenizer, replayed) : undefined;
  const questions = await readQuestions(data.heldOut, base);
  const baseQuestions = await readQuestions(data.baseHeldOut, base);
  const total = totalSteps(train, batches.perEpoch);

  manualSeed(seed);
  const targets = lora.targets.length > 0 ? lora.targets : adaptableNames(model);
  const adapter = new LoraAdapter(model, { ...lora, targets }).attach();
  const optimizer = adamW(adapter.namedParameters(), train);
  const { gradientScale } = optimizer;
  const source = [shards.key, replay?.shards.key, fingerprint(config.from)].join(" ");
  if (run.resumed) restore(run.resumed, adapter, optimizer, source);
  const tokensPerStep = (train.batchSize * train.accumulate + (replay ? data.replay : 0)) * data.seqLen;
  const share = (100 * adapter.numParameters()) / model.numParameters();
  run.print(`${dataSummary(shards)}; ${questions.length} held-out questions, ${baseQuestions.length} of the base's`);
  run.print(
    `${total} steps of ${tokensPerStep} tokens; ${adapter.numParameters()} parameters beside ${model.numParameters()} frozen ones: ${share.toFixed(1)}%`,
  );

  const { flops: peakFlops } = await measureRates();
  const done = run.resumed?.step ?? 0;
  const stepOn = (parts: Batch[], learningRate: number) =>
    learn(optimizer, parts, (part) => ({ loss: lossOf(model, part, data.seqLen, { gradientScale }) }), {
      learningRate,
      clip: train.clip,
    });
  if (done === 0) await tuneStep(train.tune, () => stepOn([batches.at(0)], 1).loss.dispose());
  if (done === 0) run.log({ step: 0, ...(await evaluate(0)) });
  tokenizer.save(run.dir);
  const shown = { count: config.sample.count, maxNewTokens: config.eval.tokens };
  const aftermath = new Aftermath(run, {
    optimizer,
    tokensPerStep,
    evaluate,
    samples: questions.length > 0 ? () => merged(() => replySamples(base, questions, shown)) : undefined,
    save: (step) =>
      run.save(step, snapshot(adapter, optimizer, source), () =>
        saveAdapter(adapter, run.dir, { base: config.from, tokenizer, dtype: "F16" }),
      ),
  });
  const worker = data.workers !== 0;
  const feed = withReplay(
    stepBatches(shards, rows, { done, accumulate: train.accumulate, worker }),
    replay && stepBatches(replay.shards, replay.rows, { done, worker }),
  );
  for await (const { step, batch } of run.steps(feed, {
    total,
    peakFlops,
    flopsPerToken: (flopsPerToken(model.config) * 2) / 3, // frozen weights get no gradient
  })) {
    const learningRate = rateAt(train, step, total);
    await aftermath.after(step, stepOn(batch, learningRate), learningRate);
  }
  await aftermath.end();
  const finished = run.step === total;
  run.finish({ next: `bun recipes/chat.ts --run ${config.from} --lora ${run.dir}` });
  if (mergeInto && finished) {
    adapter.merge();
    tokenizer.save(mergeInto);
    await saveModel(model, mergeInto, tokenizer);
    run.print(`${mergeInto}: the model with the adapter in its weights`);
  }
  shards.close();
  replay?.shards.close();

  /** What is asked of the model now, with the adapter in the weights: the same answers, sooner. */
  async function merged<T>(work: () => Promise<T>): Promise<T> {
    adapter.merge();
    try {
      return await work();
    } finally {
      adapter.attach();
    }
  }

  /** The share of right replies, to the letter, to what the adapter is to learn, and to what the base knew before. */
  async function evaluate(step: number): Promise<Record<string, number>> {
    const sumOf = (batch: Batch) => lossOf(model, batch, data.seqLen, { reduction: "sum" });
    const most = step === 0 || step === total ? 0 : config.eval.questions;
    const right = async (all: typeof questions) => {
      const asked = spread(all, most);
      return exactMatch(asked, await askAll(model, tokenizer, asked, { maxNewTokens: config.eval.tokens }));
    };
    return merged(async () => ({
      ...(held ? await heldOutLoss(held, sumOf, config.eval.batches) : {}),
      ...(questions.length ? { exactMatch: await right(questions) } : {}),
      ...(baseQuestions.length ? { baseMatch: await right(baseQuestions) } : {}),
    }));
  }
});

/** @throws ConfigError where a merged model would overwrite another, or mix with an adapter's files */
function expectFree(folder: string, runDir: string): void {
  const taken = ["config.json", "model.safetensors", "adapter_config.json"].some((name) =>
    existsSync(join(folder, name)),
  );
  if (taken) throw new ConfigError(`--merge: ${folder} holds a model; choose another folder, or delete that one`);
  if (resolve(folder) === resolve(runDir))
    throw new ConfigError(`--merge: ${folder} is the adapter's own folder; choose another, or true for its merged/`);
}

interface Files {
  path: string;
  heldOut: string;
  basePath: string;
  baseHeldOut: string;
}

/** The files that are named, else the corpus'. */
function filesOf(name: string, { path, heldOut, basePath, baseHeldOut }: Files): Files {
  if (!/^\w[\w.-]*$/.test(name))
    throw new ConfigError(`--lora.name is ${JSON.stringify(name)}, expected a folder's name`);
  const own = (file: string) => (path === "" && existsSync(corpus(file)) ? corpus(file) : "");
  const found = {
    path: path || own(`${name}.jsonl`),
    heldOut: heldOut || own(`${name}.heldout.jsonl`),
    basePath: basePath || own("sft.jsonl"),
    baseHeldOut: baseHeldOut || own("sft.heldout.jsonl"),
  };
  if (!found.path)
    throw new ConfigError(`--data.path: the corpus has no ${name}.jsonl (it has identity, medical); name your own`);
  return found;
}

/** Each step's batches, with one of the base's data behind them: another part of the mean. */
async function* withReplay(own: AsyncGenerator<Batch[]>, base?: AsyncGenerator<Batch[]>): AsyncGenerator<Batch[]> {
  try {
    for await (const batches of own) yield [...batches, ...(base ? (await base.next()).value : [])];
  } finally {
    await base?.return(undefined);
  }
}

/** Cross-entropy: −log p(next token), over the tokens that the assistant wrote, its end token included. */
function lossOf(model: CausalLM, batch: Batch, seqLen: number, options: LossOptions = {}): Tensor {
  const { tokens, labels, segments, positions } = upload(batch, seqLen);
  return model.loss(tokens, labels, { segments, positions, ...options });
}
