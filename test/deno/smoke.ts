/** Device, ops and five steps of pretraining under Deno's own WebGPU: `deno run -A test/deno/smoke.ts`. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { stepBatches } from "../../framework/data/ahead.ts";
import { type Batch, openBatches, tokenBytes } from "../../framework/data/batches.ts";
import { tokenizeDataset } from "../../framework/data/tokenize.ts";
import {
  CausalLM,
  init,
  manualSeed,
  matmul,
  noGrad,
  optim,
  scope,
  shutdown,
  Tensor,
  tensor,
} from "../../framework/index.ts";
import { trainTokenizer } from "../../framework/text/tokenizer.ts";

let passed = 0;
let failed = 0;
async function check(name: string, claim: () => Promise<boolean>): Promise<void> {
  try {
    if (!(await claim())) throw new Error("not so");
    passed++;
  } catch (error) {
    failed++;
    console.log(`fail: ${name}: ${error instanceof Error ? error.message : error}`);
  }
}

try {
  await init({ verbose: true });
} catch (error) {
  console.log(`skip: ${error instanceof Error ? error.message : error}`);
  process.exit(0);
}

await check("element-wise ops and their gradient", async () => {
  const x = tensor([1, 2, 3], { requiresGrad: true });
  x.mul(x).add(1).sum().backward();
  return String(await x.grad?.tolist()) === "2,4,6";
});

await check("a product of odd sizes", async () => {
  const y = matmul(
    tensor([
      [1, 2, 3],
      [4, 5, 6],
    ]),
    tensor([[1], [0], [-1]]),
  );
  return String(await y.tolist()) === "-2,-2";
});

await check("five steps of pretraining on the shipped corpus bring the loss down", async () => {
  const corpus = join(import.meta.dirname ?? ".", "../../recipes/corpus/pretrain.jsonl");
  const cache = mkdtempSync(join(tmpdir(), "micromind-deno-"));
  const texts = readFileSync(corpus, "utf8")
    .trim()
    .split("\n")
    .slice(0, 400)
    .map((line) => JSON.parse(line).text as string);
  const tokenizer = await trainTokenizer(texts, { vocabSize: 512 });
  const shards = await tokenizeDataset(corpus, tokenizer, { cache });
  const [batchSize, seqLen] = [2, 32];
  const options = { batchSize, seqLen, pad: 0, tokenBytes: tokenBytes(tokenizer) };
  const batches = openBatches(shards, options);
  const source = stepBatches(shards, options);
  const [ahead] = (await source.next()).value as Batch[];
  if (String(ahead.tokens) !== String(batches.at(0).tokens)) throw new Error("the thread's batch is another");
  await source.return(undefined);
  manualSeed(1);
  const model = new CausalLM({
    vocab_size: 512,
    hidden_size: 32,
    num_hidden_layers: 2,
    num_attention_heads: 2,
    num_key_value_heads: 1,
    intermediate_size: 64,
    max_position_embeddings: 64,
  });
  const optimizer = new optim.AdamW(model.namedParameters(), { learningRate: 1e-2 });
  const losses: number[] = [];
  for (let step = 0; step < 5; step++) {
    const batch = batches.at(0);
    const upload = (values: Int32Array) => Tensor.from(values, { shape: [batchSize, seqLen] });
    const loss = scope(() => {
      optimizer.zeroGrad();
      const l = model.loss(upload(batch.tokens), upload(batch.labels), {
        segments: upload(batch.segments),
        positions: upload(batch.positions),
      });
      l.backward();
      optimizer.step({ clip: 1, loss: l });
      return l;
    });
    losses.push((await optimizer.report(loss)).loss);
    loss.dispose();
  }
  shards.close();
  rmSync(cache, { recursive: true });
  const logits = noGrad(() => model.forward([[1, 2, 3]]));
  return losses[4] < losses[0] - 0.3 && (await logits.data()).every(Number.isFinite);
});

shutdown();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
