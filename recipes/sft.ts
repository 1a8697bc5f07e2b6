/**
 * Supervised fine-tuning: from a text continuer to an assistant, by learning the assistant's side of conversations. The loss is
 * pretraining's, over the assistant's tokens only. Ouyang et al. 2022 (InstructGPT), arXiv:2203.02155, step 1.
 *   bun recipes/sft.ts                                          from out/pretrain, the shipped conversations
 *   bun recipes/sft.ts --from out/pretrain --data.path sft_512.jsonl --train.epochs 2 --train.learningRate 5e-5
 */
import { join } from "node:path";
import { stepBatches } from "../framework/data/ahead.ts";
import type { Batch } from "../framework/data/batches.ts";
import { type CausalLM, type LossOptions, manualSeed, saveModel } from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import { restore, snapshot } from "../framework/model/state.ts";
import { measureRates } from "../framework/ops/measure.ts";
import { configure, count, key, main, runKeys, tuneStep } from "../framework/run/index.ts";
import { keepBase, openBase, startOf } from "./shared/base.ts";
import { askAll, exactMatch, readQuestions, replySamples, spread } from "./shared/replies.ts";
import {
  Aftermath,
  adamW,
  conversationKeys,
  discard,
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
import { dataSummary, heldOutLoss, openConversations, upload } from "./shared/tokens.ts";

const corpus = (name: string) => join(import.meta.dirname, "corpus", name);

const schema = {
  from: key("out/pretrain", "model to start from: a run's folder, or a Hugging Face folder"),
  data: conversationKeys(),
  train: trainKeys({ epochs: 5, learningRate: 1e-3, warmup: 20 }),
  eval: {
    every: count(200, "steps between evaluations; 0: only at the end", 0),
    batches: count(16, "batches of the validation loss"),
    questions: count(100, "held-out questions asked at each evaluation; at the end all are; 0: all always", 0),
    tokens: count(64, "tokens of a reply at most"),
  },
  sample: {
    every: count(200, "steps between samples; 0: only at the end", 0),
    count: count(6, "held-out questions to show"),
  },
  save: saveKeys(200),
  seed: key(1, "of shuffle and dropout", { whole: true }),
  run: runKeys("out/sft"),
};

await main(async () => {
  const config = configure("sft", schema, {
    about: "Fine-tunes a pretrained model on conversations; only the assistant's tokens count.",
    presets: "",
    inherit: inherited,
    examples: [
      "bun recipes/sft.ts",
      "bun recipes/sft.ts --from out/pretrain --data.path sft_512.jsonl --train.epochs 2 --train.learningRate 5e-5",
      "bun recipes/sft.ts --resume",
    ],
    fixed: fixedKeys,
  });
  const { train, data, seed } = config;
  keepBase(config);
  const run = await openRun(config);
  const base = await openBase(startOf(run, config.from), { seqLen: data.seqLen });
  const { model, tokenizer } = base;
  model.model.checkpointing = train.checkpointing;
  model.model.precision = train.precision;
  const { shards, rows, batches, held } = await openConversations(data.path || corpus("sft.jsonl"), tokenizer, {
    ...data,
    batchSize: train.batchSize,
    seed,
  });
  const questions = await readQuestions(data.heldOut || (data.path ? "" : corpus("sft.heldout.jsonl")), base);
  const total = totalSteps(train, batches.perEpoch);

  manualSeed(seed);
  const optimizer = adamW(model.namedParameters(), train);
  const { gradientScale } = optimizer;
  if (run.resumed) restore(run.resumed, model, optimizer, shards.key);
  const tokensPerStep = train.batchSize * train.accumulate * data.seqLen;
  const passes = ((total * train.accumulate) / batches.perEpoch).toFixed(1);
  run.print(`${dataSummary(shards)}; ${questions.length} held-out questions`);
  run.print(
    `${total} steps of ${tokensPerStep} tokens: ${passes} passes over the data; ${model.numParameters()} parameters`,
  );

  const { flops: peakFlops } = await measureRates();
  const done = run.resumed?.step ?? 0;
  const stepOn = (parts: Batch[], learningRate: number) =>
    learn(optimizer, parts, (part) => lossesOf(model, part, data.seqLen, { gradientScale }), {
      learningRate,
      clip: train.clip,
    });
  if (done === 0) await tuneStep(train.tune, () => discard(stepOn([batches.at(0)], 1)));
  if (done === 0) run.log({ step: 0, ...(await evaluate(0)) });
  tokenizer.save(run.dir);
  const shown = { count: config.sample.count, maxNewTokens: config.eval.tokens };
  const aftermath = new Aftermath(run, {
    optimizer,
    tokensPerStep,
    evaluate,
    samples: questions.length > 0 ? () => replySamples(base, questions, shown) : undefined,
    save: (step) => run.save(step, snapshot(model, optimizer, shards.key), () => saveModel(model, run.dir, tokenizer)),
  });
  const feed = stepBatches(shards, rows, { done, accumulate: train.accumulate, worker: data.workers !== 0 });
  for await (const { step, batch } of run.steps(feed, {
    total,
    peakFlops,
    flopsPerToken: flopsPerToken(model.config),
  })) {
    const learningRate = rateAt(train, step, total);
    await aftermath.after(step, stepOn(batch, learningRate), learningRate);
  }
  await aftermath.end();
  run.finish({ next: `bun recipes/chat.ts --run ${run.dir}` });
  shards.close();

  /** Loss of held-out conversations, and the share of held-out questions whose reply is the expected one to the letter. */
  async function evaluate(step: number): Promise<Record<string, number>> {
    const sumOf = (batch: Batch) => lossesOf(model, batch, data.seqLen, { reduction: "sum" }).loss;
    const asked = step === total ? questions : spread(questions, config.eval.questions);
    const replies = await askAll(model, tokenizer, asked, { maxNewTokens: config.eval.tokens });
    return {
      ...(held ? await heldOutLoss(held, sumOf, config.eval.batches) : {}),
      ...(asked.length ? { exactMatch: exactMatch(asked, replies) } : {}),
    };
  }
});

/** Cross-entropy: −log p(next token), over the tokens that the assistant wrote, its end token included. A model of experts adds its balance loss. */
function lossesOf(model: CausalLM, batch: Batch, seqLen: number, options: LossOptions = {}): Losses {
  const { tokens, labels, segments, positions } = upload(batch, seqLen);
  const { loss, auxLoss } = model.losses(tokens, labels, { segments, positions, ...options });
  return auxLoss ? { loss, auxLoss } : { loss };
}
