/** The shipped corpus' facts, asked for in wordings that training never sees. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { progressBar } from "../../framework/run/index.ts";
import type { Base } from "./base.ts";
import { openingIds, stopTokens } from "./replyStream.ts";

interface Fact {
  prompt: string;
  answer: string;
  kind: string;
}

/** Continues the held-out prompts greedily; an answer counts where the text begins with it. */
export async function askFacts({ model, tokenizer }: Base): Promise<void> {
  const lines = readFileSync(join(import.meta.dirname, "../corpus/heldout.jsonl"), "utf8")
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
      asked.map(({ prompt }) => openingIds(tokenizer, prompt)),
      { maxNewTokens: Math.max(...rooms), temperature: 0, stop: stopTokens(tokenizer) },
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
