/**
 * White-box distillation: a small student learns from a frozen teacher's whole distribution at each token, beside the data's labels.
 * Hinton et al. 2015, arXiv:1503.02531. Black-box distillation, from a teacher's answers alone, is recipes/sft.ts on those answers.
 *   bun recipes/distill.ts                                      from out/sft to a model of half its width and depth
 *   bun recipes/distill.ts --distill.alpha 1 --run.dir out/alone the same student without a teacher
 *   bun recipes/distill.ts --teacher big --from small --data.path sft_512.jsonl --train.learningRate 5e-5
 */
import { join } from "node:path";
import { stepBatches } from "../framework/data/ahead.ts";
import type { Batch } from "../framework/data/batches.ts";
import { type CausalLM, manualSeed, noGrad, saveModel, scope, type Tensor } from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import { restore, snapshot } from "../framework/model/state.ts";
import { measureRates } from "../framework/ops/measure.ts";
import { ConfigError, configure, count, key, main, runKeys, tuneStep } from "../framework/run/index.ts";
import { fingerprint, keepBase, openBase, startOf } from "./shared/base.ts";
import { type DistillationOptions, distillation, nextTokens } from "./shared/distillation.ts";
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
import { openStudent } from "./shared/student.ts";
import { dataSummary, heldOutLoss, openConversations, upload } from "./shared/tokens.ts";

const corpus = (name: string) => join(import.meta.dirname, "corpus", name);

const schema = {
  teacher: key(
    "out/sft",
    "model to learn from, dense or of experts, never changed: a run's folder, or a Hugging Face folder",
  ),
  from: key("", "student to start from, with the teacher's tokenizer; empty: random weights, of the sizes under model"),
  model: {
    hidden_size: count(0, "width of the residual stream; 0: half the teacher's", 0),
    num_hidden_layers: count(0, "layers; 0: half the teacher's", 0),
    num_attention_heads: count(0, "query heads; 0: half the teacher's", 0),
    num_key_value_heads: count(0, "key and value heads; 0: half the teacher's", 0),
    intermediate_size: count(0, "width of the MLP; 0: half the teacher's", 0),
  },
  data: { ...conversationKeys(), seqLen: count(128, "tokens per row (the teacher's, where it is a run)", 2) },
  distill: {
    alpha: key(0.5, "share of the data's labels in the loss, the rest is the teacher's; 1: no teacher", {
      min: 0,
      max: 1,
    }),
    temperature: key(1, "flattens both distributions where they are compared", { min: 0.01 }),
    prompts: key(
      true,
      "the teacher teaches all tokens of a conversation; false: the assistant's alone, as the labels do",
    ),
  },
  train: trainKeys({ epochs: 5, learningRate: 3e-3, warmup: 20 }),
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
  seed: key(1, "of weights, shuffle and dropout", { whole: true }),
  run: runKeys("out/distill"),
};

await main(async () => {
  const config = configure("distill", schema, {
    about:
      "Trains a small student on a frozen teacher's distributions (white-box). Black-box, from a teacher's answers alone: bun recipes/sft.ts --data.path answers.jsonl",
    presets: "",
    inherit: inherited,
    inheritFrom: "teacher",
    examples: [
      "bun recipes/distill.ts",
      "bun recipes/distill.ts --distill.alpha 1 --run.dir out/alone",
      "bun recipes/distill.ts --teacher big --from small --data.path sft_512.jsonl --train.learningRate 5e-5",
      "bun recipes/distill.ts --resume",
    ],
    fixed: [...fixedKeys, "teacher", "distill"],
  });
  const { train, data, seed } = config;
  if (config.from && Object.values(config.model).some(Boolean))
    throw new ConfigError("--model: the student that --from names has its sizes; leave one of the two out");
  keepBase(config);
  const run = await openRun(config);
  const { model: teacher, tokenizer } = await openBase(config.teacher, { flag: "--teacher", seqLen: data.seqLen });
  manualSeed(seed);
  const student = await openStudent(startOf(run, config.from), config.model, {
    teacher,
    tokenizer,
    name: config.teacher,
    seqLen: data.seqLen,
  });
  student.model.checkpointing = train.checkpointing;
  for (const { model } of [student, teacher]) model.precision = train.precision;
  const { shards, rows, batches, held } = await openConversations(data.path || corpus("sft.jsonl"), tokenizer, {
    ...data,
    batchSize: train.batchSize,
    seed,
  });
  const questions = await readQuestions(data.heldOut || (data.path ? "" : corpus("sft.heldout.jsonl")), {
    model: student,
    tokenizer,
  });
  const total = totalSteps(train, batches.perEpoch);

  const optimizer = adamW(student.namedParameters(), train);
  const { gradientScale } = optimizer;
  const source = [shards.key, fingerprint(config.teacher)].join(" ");
  if (run.resumed) restore(run.resumed, student, optimizer, source);
  const tokensPerStep = train.batchSize * train.accumulate * data.seqLen;
  const passes = ((total * train.accumulate) / batches.perEpoch).toFixed(1);
  run.print(`${dataSummary(shards)}; ${questions.length} held-out questions`);
  run.print(
    `a student of ${student.numParameters()} parameters, ${config.distill.alpha === 1 ? "without its teacher" : "a teacher"} of ${teacher.numParameters()}`,
  );
  run.print(`${total} steps of ${tokensPerStep} tokens: ${passes} passes over the data`);

  const { flops: peakFlops } = await measureRates();
  const done = run.resumed?.step ?? 0;
  const options = { ...config.distill, gradientScale, seqLen: data.seqLen, pad: rows.pad };
  const stepOn = (parts: Batch[], learningRate: number) =>
    learn(optimizer, parts, (part) => lossOf(student, teacher, part, options), {
      learningRate,
      clip: train.clip,
    });
  if (done === 0) await tuneStep(train.tune, () => scope(() => void stepOn([batches.at(0)], 1)));
  if (done === 0) run.log({ step: 0, ...(await evaluate(0)) });
  tokenizer.save(run.dir);
  const shown = { count: config.sample.count, maxNewTokens: config.eval.tokens };
  const aftermath = new Aftermath(run, {
    optimizer,
    tokensPerStep,
    evaluate,
    samples: questions.length > 0 ? () => replySamples({ model: student, tokenizer }, questions, shown) : undefined,
    save: (step) => run.save(step, snapshot(student, optimizer, source), () => saveModel(student, run.dir, tokenizer)),
  });
  const feed = stepBatches(shards, rows, { done, accumulate: train.accumulate, worker: data.workers !== 0 });
  const taught = config.distill.alpha === 1 ? 0 : flopsPerToken(teacher.config) / 3; // forward only
  for await (const { step, batch } of run.steps(feed, {
    total,
    peakFlops,
    flopsPerToken: flopsPerToken(student.config) + taught,
  })) {
    const learningRate = rateAt(train, step, total);
    await aftermath.after(step, stepOn(batch, learningRate), learningRate);
  }
  await aftermath.end();
  run.finish({ next: `bun recipes/chat.ts --run ${run.dir}` });
  shards.close();

  /** The student's loss on held-out conversations, and the share of held-out questions whose reply is the expected one to the letter. */
  async function evaluate(step: number): Promise<Record<string, number>> {
    const sumOf = (batch: Batch) => {
      const { tokens, labels, segments, positions } = upload(batch, data.seqLen);
      return student.loss(tokens, labels, { segments, positions, reduction: "sum" });
    };
    const asked = step === total ? questions : spread(questions, config.eval.questions);
    const replies = await askAll(student, tokenizer, asked, { maxNewTokens: config.eval.tokens });
    return {
      ...(held ? await heldOutLoss(held, sumOf, config.eval.batches) : {}),
      ...(asked.length ? { exactMatch: exactMatch(asked, replies) } : {}),
    };
  }
});

/**
 * α · cross-entropy + (1 − α) · T² · KL(teacher‖student): the first over the assistant's tokens, the second over all, or the same. α 1 does
 * without the teacher.
 */
function lossOf(
  student: CausalLM,
  teacher: CausalLM,
  batch: Batch,
  { seqLen, pad, alpha, temperature, prompts, gradientScale }: LossOptions,
) {
  const { tokens, labels, segments, positions } = upload(batch, seqLen);
  const placed = { segments, positions };
  if (alpha === 1) return { loss: student.loss(tokens, labels, { ...placed, gradientScale }) };
  const taught = { hidden: noGrad(() => teacher.hidden(tokens, placed)), weight: teacher.head };
  const balance: Tensor[] = []; // of a student of experts
  const learnt = { hidden: student.hidden(tokens, { ...placed, balance }), weight: student.head };
  const options = { alpha, temperature, gradientScale, taught: prompts ? nextTokens(batch, pad) : undefined };
  const losses = distillation(learnt, taught, batch.labels, options);
  if (balance.length === 0) return losses;
  return { ...losses, loss: losses.loss.add(student.auxLoss(balance, { gradientScale })) };
}

interface LossOptions extends DistillationOptions {
  seqLen: number;
  pad: number;
  prompts: boolean;
}
