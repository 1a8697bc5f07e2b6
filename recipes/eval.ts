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
    presets: "",
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

/** A text's tokens, as documents begin in training. */
function tokensOf(tokenizer: Tokenizer, text: string): number[] {
  const { bosTokenId: bos } = tokenizer;
  return [...(bos === undefined ? [] : [bos]), ...tokenizer.encode(text, { addSpecialTokens: false })];
}

function stopOf({ eosTokenId: eos }: Tokenizer): number[] {
  return eos === undefined ? [] : [eos];
}

/** Prints the prompt and what the model makes of it as it comes; whole characters only. */
async function continueText(model: CausalLM, tokenizer: Tokenizer, prompt: string, options: Options): Promise<void> {
  const ids = tokensOf(tokenizer, prompt);
  const text = tokenizer.decodeStream({ skipSpecialTokens: true });
  process.stdout.write(`\n${prompt}`);
  const start = performance.now();
  let [first, last, made] = [0, 0, 0];
  for await (const id of model.generate(ids, { ...options, stop: stopOf(tokenizer) })) {
    last = performance.now();
    if (made++ === 0) first = last;
    process.stdout.write(text.push(id));
  }
  process.stdout.write(text.end());
  const rate = (tokens: number, ms: number) => `${((tokens / ms) * 1000).toFixed(0)} tokens/s`;
  const decode = made > 1 ? `, ${rate(made - 1, last - first)}` : "";
  const wait = (first || performance.now()) - start;
  console.log(
    `\n  [${made} tokens${decode}; prompt of ${ids.length} in ${wait.toFixed(0)} ms, ${rate(ids.length, wait)}]`,
  );
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
  const start = performance.now();
  let tokens = 0;
  const together = 32;
  for (let at = 0; at < facts.length; at += together) {
    const asked = facts.slice(at, at + together);
    const rooms = asked.map(({ answer }) => tokenizer.encode(answer).length + 4);
    const made: number[][] = asked.map(() => []);
    for await (const { row, token } of model.generateBatch(
      asked.map(({ prompt }) => tokensOf(tokenizer, prompt)),
      { maxNewTokens: Math.max(...rooms), temperature: 0, stop: stopOf(tokenizer) },
    ))
      made[row].push(token);
    for (const [row, { answer, kind }] of asked.entries()) {
      const text = tokenizer.decode(made[row].slice(0, rooms[row])).trim();
      const before = kinds.get(kind) ?? { right: 0, asked: 0 };
      kinds.set(kind, { asked: before.asked + 1, right: before.right + Number(text.startsWith(answer)) });
    }
    tokens += made.flat().length;
    bar.update(at + asked.length);
  }
  bar.finish();
  const seconds = (performance.now() - start) / 1000;
  const all = [...kinds.values()];
  const [right, asked] = [all.reduce((sum, k) => sum + k.right, 0), all.reduce((sum, k) => sum + k.asked, 0)];
  for (const [kind, k] of kinds) console.log(`  ${kind}: ${k.right} of ${k.asked}`);
  console.log(`${right} of ${asked} facts right (${((100 * right) / asked).toFixed(1)}%)`);
  console.log(`  [${tokens} tokens, ${(tokens / seconds).toFixed(0)} tokens/s]`);
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
