/**
 * Pretraining: a model from random weights to text, by predicting the next token. Radford et al. 2018 (GPT).
 *   bun recipes/pretrain.ts                                        the shipped corpus, minutes on a CPU
 *   bun recipes/pretrain.ts --preset micromind-26m --data.path pretrain_hq.jsonl --train.batchSize 32
 */
import { join } from "node:path";
import { stepBatches } from "../framework/data/ahead.ts";
import { type Batch, openBatches, tokenBytes } from "../framework/data/batches.ts";
import { CausalLM, type LossOptions, manualSeed, saveModel } from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import { restore, snapshot } from "../framework/model/state.ts";
import { measureRates } from "../framework/ops/measure.ts";
import { ConfigError, configure, count, key, main, runKeys, tuneStep } from "../framework/run/index.ts";
import { openings } from "./corpus/prompts.ts";
import {
  Aftermath,
  adamW,
  discard,
  fixedKeys,
  type Losses,
  learn,
  openRun,
  rateAt,
  saveKeys,
  totalSteps,
  trainKeys,
} from "./shared/stage.ts";
import { prepareTokenizer } from "./shared/tokenizer.ts";
import { heldOutLoss, tokenized, upload } from "./shared/tokens.ts";

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
    num_experts: count(0, "experts in the place of each MLP, a router's choice for each token; 0: none", 0),
    num_experts_per_tok: count(1, "experts of a token"),
    n_shared_experts: count(0, "experts beside them that every token goes through, as MiniMind 2 has one", 0),
    moe_intermediate_size: count(0, "width of an expert; 0: intermediate_size", 0),
    norm_topk_prob: key(true, "the weights of a token's experts sum to 1"),
    router_aux_loss_coef: key(5e-4, "share of the loss that keeps experts evenly used", { min: 0 }),
  },
  train: trainKeys({ epochs: 1, learningRate: 5e-4, warmup: 100, weightDecay: 0.1 }),
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
  save: saveKeys(200),
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
    fixed: fixedKeys,
  });
  const { train, seed } = config;
  const data = { ...config.data, path: config.data.path || join(import.meta.dirname, "corpus/pretrain.jsonl") };
  if (data.seqLen > config.model.max_position_embeddings)
    throw new ConfigError(
      `--data.seqLen: rows of ${data.seqLen} tokens need as many positions, but --model.max_position_embeddings is ${config.model.max_position_embeddings}`,
    );
  const run = await openRun(config);
  const tokenizer = await prepareTokenizer(config.tokenizer, data, run.resumed && run.dir);
  const { path, onError } = data;
  const shards = await tokenized(path, tokenizer, { onError, workers: data.workers ?? undefined });
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
  const total = totalSteps(train, batches.perEpoch);

  manualSeed(seed);
  const model = new CausalLM({ ...config.model, vocab_size: tokenizer.vocabSize });
  model.model.checkpointing = train.checkpointing;
  model.model.precision = train.precision;
  const optimizer = adamW(model.namedParameters(), train);
  const { gradientScale } = optimizer;
  if (run.resumed) restore(run.resumed, model, optimizer, shards.key);
  const tokensPerStep = train.batchSize * train.accumulate * data.seqLen;
  run.print(
    `${shards.tokens} tokens in ${shards.info.documents} documents, ${held?.documents ?? 0} of them held out; ${model.numParameters()} parameters`,
  );
  run.print(
    `${total} steps of ${tokensPerStep} tokens: ${((total * train.accumulate) / batches.perEpoch).toFixed(1)} passes over the data`,
  );

  const { flops: peakFlops } = await measureRates();
  const done = run.resumed?.step ?? 0;
  const stepOn = (parts: Batch[], learningRate: number) =>
    learn(optimizer, parts, (part) => lossesOf(model, part, data.seqLen, { gradientScale }), {
      learningRate,
      clip: train.clip,
    });
  if (done === 0) await tuneStep(train.tune, () => discard(stepOn([batches.at(0)], 1)));
  const evaluate =
    held &&
    (() =>
      heldOutLoss(
        held,
        (batch) => lossesOf(model, batch, data.seqLen, { reduction: "sum" }).loss,
        config.eval.batches,
      ));
  if (done === 0 && evaluate) run.log({ step: 0, ...(await evaluate()) });
  tokenizer.save(run.dir);
  const aftermath = new Aftermath(run, {
    optimizer,
    tokensPerStep,
    evaluate,
    samples,
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
  run.finish({ next: `bun recipes/eval.ts --run ${run.dir}` });
  shards.close();

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

/** Cross-entropy: −log p(next token), over the tokens that have a next one in their document. A model of experts adds its balance loss. */
function lossesOf(model: CausalLM, batch: Batch, seqLen: number, options: LossOptions = {}): Losses {
  const { tokens, labels, segments, positions } = upload(batch, seqLen);
  const { loss, auxLoss } = model.losses(tokens, labels, { segments, positions, ...options });
  return auxLoss ? { loss, auxLoss } : { loss };
}
