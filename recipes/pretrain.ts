/**
 * Pretraining: a model from random weights to text, by predicting the next token. Radford et al. 2018 (GPT).
 *   bun recipes/pretrain.ts                                        the shipped corpus, minutes on a CPU
 *   bun recipes/pretrain.ts --preset micromind-26m --data.path pretrain_hq.jsonl --train.batchSize 32
 */
import { join } from "node:path";
import { stepBatches } from "../framework/data/ahead.ts";
import { type Batch, type Batches, openBatches, tokenBytes } from "../framework/data/batches.ts";
import type { Shards } from "../framework/data/shards.ts";
import { type TokenizeProgress, tokenizeDataset } from "../framework/data/tokenize.ts";
import {
  CausalLM,
  init,
  type LossOptions,
  manualSeed,
  noGrad,
  optim,
  saveModel,
  scope,
  Tensor,
  type Tokenizer,
} from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import { restore, snapshot, type TrainingState } from "../framework/model/state.ts";
import { measureRates } from "../framework/ops/measure.ts";
import { configure, count, key, main, progressBar, Run, runKeys, tuneModes, tuneStep } from "../framework/run/index.ts";
import { openings } from "./corpus/prompts.ts";
import { prepareTokenizer } from "./shared/tokenizer.ts";

const schema = {
  data: {
    path: key("", 'JSONL of {"text"}, plain text, .gz of either, a folder or a glob; empty: the corpus that ships'),
    seqLen: count(128, "tokens per row", 2),
    packing: key(
      true,
      "fill rows with whole documents end to end, attention kept inside each; false: a padded document per row",
    ),
    heldOut: key(0.02, "share of the documents kept for validation", { min: 0, max: 0.5 }),
    onError: key("error", "what a bad line does", { choices: ["error", "skip"] }),
    workers: key(
      null,
      "threads that tokenize (default: one less than the cores); 0: batches too are assembled without one",
      {
        type: "number",
        min: 0,
        whole: true,
      },
    ),
  },
  tokenizer: {
    path: key("", "a tokenizer.json or its folder; empty trains one on the data"),
    vocabSize: count(1024, "tokens of the one that is trained", 300),
  },
  model: {
    model_type: key("qwen3", "qwen3 normalises queries and keys, llama does not", { choices: ["qwen3", "llama"] }),
    hidden_size: count(128, "width of the residual stream"),
    num_hidden_layers: count(4, "layers"),
    num_attention_heads: count(4, "query heads"),
    num_key_value_heads: count(2, "key and value heads, each shared by a group of query heads"),
    intermediate_size: count(384, "width of the MLP"),
    max_position_embeddings: count(1024, "longest text in tokens"),
    rope_theta: key(1e6, "base of the rotary angles", { min: 1 }),
    tie_word_embeddings: key(true, "the output layer is the embedding"),
  },
  train: {
    steps: count(0, "optimizer steps in all; 0: as many as the epochs take", 0),
    epochs: key(1, "passes over the data, where steps is 0", { min: 0 }),
    batchSize: count(8, "rows per forward pass"),
    accumulate: count(1, "forward passes per step, their gradients averaged"),
    learningRate: key(5e-4, "at its peak", { min: 0 }),
    schedule: key("cosine", "how it falls", { choices: optim.scheduleNames }),
    warmup: count(100, "steps in which it rises", 0),
    clip: key(1, "largest gradient norm; 0 does not clip", { min: 0 }),
    weightDecay: key(0.1, "decoupled weight decay", { min: 0 }),
    beta2: key(0.95, "AdamW's second beta", { min: 0, max: 1 }),
    precision: key("f32", "f16: activations and products in half precision, weights and sums in f32", {
      choices: optim.precisions,
    }),
    checkpointing: key(false, "recompute activations layer by layer: less memory, a third more work"),
    tune: key("auto", "measure kernels before the first step: auto: on GPUs, what is new there; on: all of them; off", {
      choices: tuneModes,
    }),
  },
  eval: {
    every: count(100, "steps between evaluations; 0: only at the end", 0),
    batches: count(16, "batches of an evaluation"),
  },
  sample: {
    every: count(200, "steps between samples; 0: only at the end", 0),
    prompts: key(openings, "openings to continue"),
    tokens: count(48, "tokens of each"),
    temperature: key(0, "0 takes the likeliest token", { min: 0 }),
  },
  save: { every: count(200, "steps between saves of the state that --resume goes on from; 0: only at the end", 0) },
  seed: key(1, "of weights, shuffle and dropout", { whole: true }),
  run: runKeys("out/pretrain"),
};

await main(async () => {
  const config = configure("pretrain", schema, {
    about: "Trains a model from random weights on text.",
    preset: "tiny",
    examples: [
      "bun recipes/pretrain.ts",
      "bun recipes/pretrain.ts --preset micromind-26m --data.path pretrain_hq.jsonl --train.batchSize 32",
      "bun recipes/pretrain.ts --resume",
    ],
    fixed: [
      "data",
      "tokenizer",
      "model",
      "train.batchSize",
      "train.accumulate",
      "train.precision",
      "train.steps",
      "train.epochs",
      "seed",
    ],
  });
  const { train, seed } = config;
  const data = { ...config.data, path: config.data.path || join(import.meta.dirname, "corpus/pretrain.jsonl") };
  const gpu = await init({ verbose: true });
  const run = await Run.open<TrainingState["meta"]>(config);
  const tokenizer = await prepareTokenizer(config.tokenizer, data, run.resumed && run.dir);
  const shards = await tokenized(data, tokenizer);
  if (shards.info.skipped)
    run.print(`${shards.info.skipped} bad lines left out, such as ${shards.info.skippedExamples[0]}`);
  const rows = {
    ...data,
    batchSize: train.batchSize,
    seed,
    pad: tokenizer.padTokenId ?? 0,
    tokenBytes: tokenBytes(tokenizer),
  };
  const batches = openBatches(shards, rows);
  const held = data.heldOut > 0 ? openBatches(shards, { ...rows, split: "val" }) : undefined;
  const total = train.steps || Math.max(1, Math.ceil((train.epochs * batches.perEpoch) / train.accumulate));

  manualSeed(seed);
  const model = new CausalLM({ ...config.model, vocab_size: tokenizer.vocabSize });
  model.model.checkpointing = train.checkpointing;
  model.model.precision = train.precision;
  const optimizer = new optim.AdamW(model.namedParameters(), {
    betas: [0.9, train.beta2],
    weightDecay: train.weightDecay,
    precision: train.precision,
  });
  const { gradientScale } = optimizer;
  if (run.resumed) restore(run.resumed, model, optimizer, shards.key);
  const tokensPerStep = train.batchSize * train.accumulate * data.seqLen;
  run.print(
    `${shards.tokens} tokens in ${shards.info.documents} documents, ${held?.documents ?? 0} of them held out; ${model.numParameters()} parameters`,
  );
  run.print(
    `${total} steps of ${tokensPerStep} tokens: ${((total * train.accumulate) / batches.perEpoch).toFixed(1)} passes over the data`,
  );

  tokenizer.save(run.dir);
  const { flops: peakFlops } = await measureRates();
  const done = run.resumed?.step ?? 0;
  if (done === 0) await tuneStep(train.tune, () => learn([batches.at(0)], 1).dispose());
  if (done === 0 && held) run.log({ step: 0, ...(await evaluate(held)) });
  let unread: Promise<Reported> | undefined; // the last step's figures, read while the device works on the next
  const feed = stepBatches(shards, rows, { done, accumulate: train.accumulate, worker: data.workers !== 0 });
  for await (const { step, batch } of run.steps(feed, {
    total,
    peakFlops,
    flopsPerToken: flopsPerToken(model.config),
  })) {
    const learningRate = optim.learningRateAt(train.schedule, step - 1, {
      learningRate: train.learningRate,
      total,
      warmup: train.warmup,
    });
    const loss = learn(batch, learningRate);
    const reported = report(step, loss, learningRate);
    if (unread) log(await unread);
    const due = { eval: run.due("eval", step), sample: run.due("sample", step), save: run.due("save", step) };
    unread = due.eval || due.sample || due.save ? undefined : reported;
    if (unread) continue;
    const { counted } = log(await reported);
    if (due.eval && held) run.log({ step, ...(await evaluate(held)) });
    if (due.sample) await run.sample(step, samples());
    if (due.save && counted)
      await run.save(step, snapshot(model, optimizer, shards.key), () => saveModel(model, run.dir));
  }
  if (unread) log(await unread);
  run.finish({ next: `bun recipes/eval.ts --run ${run.dir}` });
  shards.close();

  /** One step: gradients of all parts, averaged, and the update. */
  function learn(parts: Batch[], learningRate: number): Tensor {
    optimizer.zeroGrad();
    const losses = parts.map((part) =>
      scope(() => {
        const loss = lossOf(model, part, data.seqLen, { gradientScale });
        loss.mul(1 / train.accumulate).backward();
        return loss;
      }),
    );
    const loss = mean(losses);
    optimizer.step({ learningRate, clip: train.clip, loss });
    return loss;
  }

  /** Starts reading what a step came to. */
  function report(step: number, loss: Tensor, learningRate: number): Promise<Reported> {
    const reported = optimizer.report(loss).then((figures) => {
      loss.dispose();
      return { step, learningRate, ...figures };
    });
    reported.catch(() => {}); // thrown where it is awaited
    return reported;
  }

  function log(reported: Reported): Reported {
    const { step, learningRate, loss, gradNorm, counted, lossScale, overflow } = reported;
    const scaling = lossScale === undefined ? {} : { lossScale, overflow };
    const [tokens, memory] = [tokensPerStep, gpu.pool.stats.liveBytes];
    run.log({ step, loss, gradNorm, skipped: !counted, ...scaling, learningRate, tokens, memory });
    return reported;
  }

  /** Mean loss of held-out documents, in nats per token and in bits per byte of their text. */
  async function evaluate(val: Batches): Promise<{ valLoss: number; bitsPerByte: number }> {
    let [nats, tokens, bytes] = [0, 0, 0];
    for (let n = 0; n < Math.min(val.perEpoch, config.eval.batches); n++) {
      const batch = val.at(n);
      const sum = noGrad(() => scope(() => lossOf(model, batch, data.seqLen, { reduction: "sum" })));
      nats += await sum.item();
      sum.dispose();
      tokens += batch.labelled;
      bytes += batch.bytes;
    }
    return { valLoss: nats / tokens, bitsPerByte: nats / Math.LN2 / bytes };
  }

  /** The run's prompts, continued together. */
  async function* samples(): AsyncGenerator<{ prompt: string; text: string }> {
    const { tokens: maxNewTokens, temperature, prompts } = config.sample;
    const { bosTokenId: bos, eosTokenId: eos } = tokenizer;
    const ids = prompts.map((prompt) => [
      ...(bos === undefined ? [] : [bos]),
      ...tokenizer.encode(prompt, { addSpecialTokens: false }),
    ]);
    const texts = prompts.map(() => ({ stream: tokenizer.decodeStream({ skipSpecialTokens: true }), text: "" }));
    const options = { maxNewTokens, temperature, seed, stop: eos === undefined ? [] : [eos] };
    for await (const { row, token } of model.generateBatch(ids, options))
      texts[row].text += texts[row].stream.push(token);
    for (const [row, prompt] of prompts.entries()) yield { prompt, text: texts[row].text };
  }
});

/** A step's figures, read back. */
type Reported = optim.StepReport & { step: number; learningRate: number };

/** The data's token shards, with a bar where they must be made. */
async function tokenized(
  { path, onError, workers }: { path: string; onError: "error" | "skip"; workers: number | null },
  tokenizer: Tokenizer,
): Promise<Shards> {
  let bar: ReturnType<typeof progressBar> | undefined;
  const onProgress = ({ bytes, totalBytes }: TokenizeProgress) => {
    bar ??= progressBar("tokenizing", totalBytes);
    bar.update(bytes);
  };
  const shards = await tokenizeDataset(path, tokenizer, { onError, workers: workers ?? undefined, onProgress });
  bar?.finish();
  return shards;
}

/** Cross-entropy: −log p(next token), over the tokens that have a next one in their document. */
function lossOf(model: CausalLM, batch: Batch, seqLen: number, options: LossOptions = {}): Tensor {
  const upload = (values: Int32Array) => Tensor.from(values, { shape: [values.length / seqLen, seqLen] });
  const { tokens, labels, segments, positions } = batch;
  return model.loss(upload(tokens), upload(labels), {
    segments: upload(segments),
    positions: upload(positions),
    ...options,
  });
}

function mean(losses: Tensor[]): Tensor {
  if (losses.length === 1) return losses[0];
  const average = noGrad(() => scope(() => losses.reduce((sum, loss) => sum.add(loss)).mul(1 / losses.length)));
  for (const loss of losses) loss.dispose();
  return average;
}
