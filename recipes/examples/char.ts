/** Trains a small transformer on the characters of a text file.   bun recipes/examples/char.ts [file.txt] [steps] */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { CausalLM, init, manualSeed, optim, scope, shutdown } from "../../framework/index.ts";

const [file = join(import.meta.dirname, "../corpus/README.md"), steps = "200"] = process.argv.slice(2);
const text = readFileSync(file, "utf8");
const alphabet = [...new Set(text)].sort();
const ids = Int32Array.from([...text], (character) => alphabet.indexOf(character));
const [batch, length] = [8, Math.min(64, ids.length - 2)];
if (length < 1) throw new Error(`${file}: ${ids.length} characters are too few to learn from`);

await init({ verbose: true });
manualSeed(1);
const model = new CausalLM({
  vocab_size: alphabet.length,
  hidden_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  intermediate_size: 256,
  max_position_embeddings: 512,
});
const optimizer = new optim.AdamW(model.namedParameters(), { betas: [0.9, 0.99], weightDecay: 0.1 });
console.log(`${ids.length} characters, ${alphabet.length} kinds; ${model.numParameters()} parameters`);

for (let step = 0; step < Number(steps); step++) {
  const starts = Array.from(
    { length: batch },
    (_, b) => ((step * batch + b) * 7919) % Math.max(1, ids.length - length - 1),
  );
  const rows = (shift: number) => starts.map((start) => ids.slice(start + shift, start + shift + length));
  const loss = scope(() => {
    optimizer.zeroGrad();
    const loss = model.loss(rows(0), rows(1));
    loss.backward();
    optimizer.step({
      loss,
      clip: 1,
      learningRate: optim.learningRateAt("cosine", step, { learningRate: 3e-3, total: Number(steps), warmup: 10 }),
    });
    return loss;
  });
  if (step % 20 === 0 || step === Number(steps) - 1)
    console.log(`step ${step}: loss ${(await loss.item()).toFixed(3)}`);
  loss.dispose();
}

process.stdout.write("\nA sample: ");
for await (const id of model.generate([ids[0]], { maxNewTokens: 200, temperature: 0.8 }))
  process.stdout.write(alphabet[id]);
console.log();
shutdown();
