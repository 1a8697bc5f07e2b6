/**
 * Reasoning distillation: a model that answers at once learns to think first, from a larger model's (or a program's) traces,
 * `<think>…</think><answer>…</answer>`. The loss is SFT's, with the four tags weighted: a reply without them is none.
 * DeepSeek-AI 2025 (R1), arXiv:2501.12948, section 2.4; Wei et al. 2022 (chain of thought), arXiv:2201.11903.
 *   bun recipes/reason.ts                                       from out/sft, the shipped traces of sums worked out digit by digit
 *   bun recipes/reason.ts --from out/sft --data.path r1_mix_1024.jsonl --data.seqLen 1024 --train.learningRate 1e-5
 */
import { join } from "node:path";
import { stepBatches } from "../framework/data/ahead.ts";
import type { Batch } from "../framework/data/batches.ts";
import { type CausalLM, type LossOptions, manualSeed, saveModel, Tensor } from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import { restore, snapshot } from "../framework/model/state.ts";
import { measureRates } from "../framework/ops/measure.ts";
import { configure, count, key, main, runKeys, tuneStep } from "../framework/run/index.ts";
import { keepBase, openBase, startOf } from "./shared/base.ts";
import { expectTags, followsTemplate, isRight, tagIds, tagWeights } from "./shared/reasoning.ts";
import { askAll, readQuestions, replySamples, spread } from "./shared/replies.ts";
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
  from: key("out/sft", "model to start from: a run's folder, or a Hugging Face folder"),
  data: {
    ...conversationKeys(),
    path: key(
      "",
      "conversations whose replies are <think>…</think><answer>…</answer>, or have reasoning_content; formats as sft's; empty: the corpus that ships",
    ),
  },
  reason: {
    tagWeight: key(10, "what the loss of the four tags is multiplied by", { min: 0 }),
  },
  train: trainKeys({ epochs: 8, learningRate: 1e-3, warmup: 20 }),
  eval: {
    every: count(200, "steps between evaluations; 0: only at the end", 0),
    batches: count(16, "batches of the validation loss"),
    questions: count(
      50,
      "held-out questions asked at each evaluation; at the beginning and the end all are; 0: all always",
      0,
    ),
    tokens: count(128, "tokens of a reply at most"),
    temperature: key(0.7, "of the sampled replies", { min: 0 }),
  },
  sample: {
    every: count(200, "steps between samples; 0: only at the end", 0),
    count: count(4, "held-out questions to show"),
  },
  save: saveKeys(200),
  seed: key(1, "of shuffle, dropout and sampled replies", { whole: true }),
  run: runKeys("out/reason"),
};

await main(async () => {
  const config = configure("reason", schema, {
    about: "Teaches a model to think before it answers, from traces <think>…</think><answer>…</answer>.",
    presets: "",
    inherit: inherited,
    examples: [
      "bun recipes/reason.ts",
      "bun recipes/reason.ts --from out/sft --data.path r1_mix_1024.jsonl --data.seqLen 1024 --train.learningRate 1e-5",
      "bun recipes/reason.ts --resume",
    ],
    fixed: [...fixedKeys, "reason"],
  });
  const { train, data, seed, reason } = config;
  keepBase(config);
  const run = await openRun(config);
  const base = await openBase(startOf(run, config.from), { seqLen: data.seqLen });
  const { model, tokenizer } = base;
  model.model.checkpointing = train.checkpointing;
  model.model.precision = train.precision;
  const { shards, rows, batches, held } = await openConversations(data.path || corpus("reason.jsonl"), tokenizer, {
    ...data,
    batchSize: train.batchSize,
    seed,
  });
  const questions = await readQuestions(data.heldOut || (data.path ? "" : corpus("reason.heldout.jsonl")), base);
  const total = totalSteps(train, batches.perEpoch);
  const tags = { ids: tagIds(tokenizer), weight: reason.tagWeight };
  expectTags(shards, tags.ids);

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
    learn(optimizer, parts, (part) => ({ loss: lossOf(model, part, tags, data.seqLen, { gradientScale }) }), {
      learningRate,
      clip: train.clip,
    });
  if (done === 0) await tuneStep(train.tune, () => stepOn([batches.at(0)], 1).loss.dispose());
  if (done === 0) {
    const before = await evaluate(0);
    run.log({ step: 0, ...before });
    if (questions.length)
      run.print(
        `the base, asked directly: ${(before.accuracy * 100).toFixed(1)}% of ${questions.length} answers are right`,
      );
  }
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

  /**
   * Of held-out questions: the share of likeliest replies whose answer is right, and of sampled ones that follow the template.
   * Before the first step the first is the base's, asked directly.
   */
  async function evaluate(step: number): Promise<Record<string, number>> {
    const sumOf = (batch: Batch) => lossOf(model, batch, { ...tags, weight: 1 }, data.seqLen, { reduction: "sum" });
    const losses = held ? await heldOutLoss(held, sumOf, config.eval.batches) : {};
    if (questions.length === 0) return losses;
    const asked = step === 0 || step === total ? questions : spread(questions, config.eval.questions);
    const { tokens: maxNewTokens, temperature } = config.eval;
    const likeliest = await askAll(model, tokenizer, asked, { maxNewTokens });
    const drawn = await askAll(model, tokenizer, asked, { maxNewTokens, temperature, seed });
    const share = (replies: string[], good: (reply: string, i: number) => boolean) =>
      replies.filter(good).length / asked.length;
    return {
      ...losses,
      accuracy: share(likeliest, (reply, i) => isRight(reply, asked[i])),
      sampledAccuracy: share(drawn, (reply, i) => isRight(reply, asked[i])),
      template: share(drawn, followsTemplate),
    };
  }
});

/** Σ w · −log p(next token) / n over the n tokens that the assistant wrote: w is 1, but `tags.weight` for the tags. */
function lossOf(
  model: CausalLM,
  batch: Batch,
  tags: { ids: ReadonlySet<number>; weight: number },
  seqLen: number,
  options: LossOptions = {},
): Tensor {
  const { tokens, labels, segments, positions } = upload(batch, seqLen);
  const weights = Tensor.from(tagWeights(batch.labels, tags.ids, tags.weight), { shape: labels.shape });
  return model.loss(tokens, labels, { segments, positions, weights, ...options });
}
