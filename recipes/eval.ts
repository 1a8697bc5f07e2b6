/**
 * Continues texts with a trained model, token by token, and says how fast.
 *   bun recipes/eval.ts --run out/pretrain                        the seven openings
 *   bun recipes/eval.ts --run out/pretrain 长沙市的美食有 "The capital of"
 *   bun recipes/eval.ts --run out/pretrain --interactive
 *   bun recipes/eval.ts --run out/pretrain --facts            how many of the corpus' facts it knows in wordings it never read
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { type CausalLM, init, loadModel, loadTokenizer, type Tokenizer } from "../framework/index.ts";
import { configure, count, key, main, progressBar } from "../framework/run/index.ts";
import { openings } from "./corpus/prompts.ts";

const schema = {
  run: key("out/pretrain", "run folder, or any folder with model.safetensors, config.json and tokenizer.json"),
  interactive: key(false, "read prompts from the keyboard"),
  facts: key(
    false,
    "ask for the shipped corpus' facts in wordings that training never sees, and count the right answers",
  ),
  maxNewTokens: count(128, "tokens of a continuation at most"),
  temperature: key(0.7, "0 takes the likeliest token always", { min: 0 }),
  topK: count(0, "draw among the k likeliest; 0: all", 0),
  topP: key(0.9, "draw among the likeliest that make up this share", { min: 0.01, max: 1 }),
  repetitionPenalty: key(1, "above 1 makes tokens that occurred less likely", { min: 0.01 }),
  seed: key(1, "of the draws; each prompt starts from it", { whole: true, min: 0 }),
};

await main(async () => {
  const config = configure("eval", schema, {
    about: "Continues texts with a trained model.",
    words: "prompts to continue; the seven openings where there are none",
    examples: [
      "bun recipes/eval.ts --run out/pretrain",
      'bun recipes/eval.ts --run out/pretrain "The capital of France"',
      "bun recipes/eval.ts --run out/pretrain --interactive",
    ],
  });
  await init({ verbose: true });
  const tokenizer = loadTokenizer(config.run);
  const model = await loadModel(config.run);
  if (config.facts) return askFacts(model, tokenizer);
  const prompts = config.interactive ? typed() : config.words.length ? config.words : openings;
  for await (const prompt of prompts) await continueText(model, tokenizer, prompt, config);
});

type Options = Pick<
  { [K in keyof typeof schema]: (typeof schema)[K]["default"] },
  "maxNewTokens" | "temperature" | "topK" | "topP" | "repetitionPenalty" | "seed"
>;

/** Prints the prompt and what the model makes of it as it comes; whole characters only. */
async function continueText(model: CausalLM, tokenizer: Tokenizer, prompt: string, options: Options): Promise<void> {
  const { bosTokenId: bos, eosTokenId: eos } = tokenizer;
  const ids = [...(bos === undefined ? [] : [bos]), ...tokenizer.encode(prompt, { addSpecialTokens: false })];
  const text = tokenizer.decodeStream({ skipSpecialTokens: true });
  process.stdout.write(`\n${prompt}`);
  const start = performance.now();
  let [first, made] = [0, 0];
  for await (const id of model.generate(ids, { ...options, stop: eos === undefined ? [] : [eos] })) {
    if (made++ === 0) first = performance.now();
    process.stdout.write(text.push(id));
  }
  process.stdout.write(text.end());
  const seconds = (performance.now() - first) / 1000;
  const rate = made > 1 ? `${((made - 1) / seconds).toFixed(0)} tokens/s, ` : "";
  console.log(`\n  [${made} tokens, ${rate}first after ${((first || performance.now()) - start).toFixed(0)} ms]`);
}

interface Fact {
  prompt: string;
  answer: string;
  kind: string;
}

/** Continues the held-out prompts greedily; an answer counts where the text begins with it. */
async function askFacts(model: CausalLM, tokenizer: Tokenizer): Promise<void> {
  const lines = readFileSync(join(import.meta.dirname, "corpus/heldout.jsonl"), "utf8")
    .trim()
    .split("\n");
  const facts = lines.map((line) => JSON.parse(line) as Fact);
  const bar = progressBar("asking", facts.length, { unit: "facts" });
  const kinds = new Map<string, { right: number; asked: number }>();
  for (const [i, { prompt, answer, kind }] of facts.entries()) {
    const { bosTokenId: bos, eosTokenId: eos } = tokenizer;
    const ids = [...(bos === undefined ? [] : [bos]), ...tokenizer.encode(prompt, { addSpecialTokens: false })];
    const made: number[] = [];
    const room = tokenizer.encode(answer).length + 4;
    for await (const id of model.generate(ids, {
      maxNewTokens: room,
      temperature: 0,
      stop: eos === undefined ? [] : [eos],
    }))
      made.push(id);
    const kindOf = kinds.get(kind) ?? { right: 0, asked: 0 };
    kinds.set(kind, {
      asked: kindOf.asked + 1,
      right: kindOf.right + Number(tokenizer.decode(made).trim().startsWith(answer)),
    });
    bar.update(i + 1);
  }
  bar.finish();
  const all = [...kinds.values()];
  const [right, asked] = [all.reduce((sum, k) => sum + k.right, 0), all.reduce((sum, k) => sum + k.asked, 0)];
  for (const [kind, k] of kinds) console.log(`  ${kind}: ${k.right} of ${k.asked}`);
  console.log(`${right} of ${asked} facts right (${((100 * right) / asked).toFixed(1)}%)`);
}

/** Lines from the keyboard until Ctrl-D or an empty line. */
async function* typed(): AsyncGenerator<string> {
  const lines = createInterface({ input: process.stdin });
  process.stdout.write("\n> ");
  for await (const line of lines) {
    if (line.trim() === "") break;
    yield line;
    process.stdout.write("\n> ");
  }
  lines.close();
}
