/** The shipped corpus' held-out questions: facts in wordings that training never sees, sums that it never saw. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { progressBar } from "../../framework/run/index.ts";
import type { Base } from "./base.ts";
import { askAll, readQuestions } from "./replies.ts";
import { openingIds, stopTokens } from "./replyStream.ts";

const corpus = (name: string) => join(import.meta.dirname, "../corpus", name);

interface Fact {
  prompt: string;
  answer: string;
  kind: string;
}

/** Right and asked, by kind. */
class Tally {
  readonly #kinds = new Map<string, { right: number; asked: number }>();

  add(kind: string, right: boolean): void {
    const before = this.#kinds.get(kind) ?? { right: 0, asked: 0 };
    this.#kinds.set(kind, { asked: before.asked + 1, right: before.right + Number(right) });
  }

  print(what: string): void {
    const all = [...this.#kinds.values()];
    const [right, asked] = [all.reduce((sum, k) => sum + k.right, 0), all.reduce((sum, k) => sum + k.asked, 0)];
    for (const [kind, k] of this.#kinds) console.log(`  ${kind}: ${k.right} of ${k.asked}`);
    console.log(`${right} of ${asked} ${what} right (${((100 * right) / asked).toFixed(1)}%)`);
  }
}

/** Continues the held-out prompts greedily; an answer counts where the text begins with it. */
export async function continueFacts({ model, tokenizer }: Base): Promise<void> {
  const lines = readFileSync(corpus("heldout.jsonl"), "utf8").trim().split("\n");
  const facts = lines.map((line) => JSON.parse(line) as Fact);
  const bar = progressBar("asking", facts.length, { unit: "facts" });
  const tally = new Tally();
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
    for (const [row, { answer, kind }] of asked.entries())
      tally.add(kind, tokenizer.decode(made[row].slice(0, rooms[row])).trim().startsWith(answer));
    tokens += made.flat().length;
    bar.update(at + asked.length);
  }
  bar.finish();
  const seconds = (performance.now() - start) / 1000;
  tally.print("facts");
  console.log(`  [${tokens} tokens, ${(tokens / seconds).toFixed(0)} tokens/s]`);
}

/** Asks a held-out file's conversations greedily; a reply counts where what follows its thoughts holds the short answer. */
export async function questionFacts(
  base: Base,
  file: string,
  { maxNewTokens, thinking: openThinking }: { maxNewTokens: number; thinking: boolean },
): Promise<void> {
  const questions = await readQuestions(corpus(file), base);
  const bar = progressBar("asking", questions.length, { unit: "questions" });
  const replies = await askAll(base.model, base.tokenizer, questions, {
    maxNewTokens,
    openThinking,
    onProgress: (done) => bar.update(done),
  });
  bar.finish();
  const tally = new Tally();
  let exact = 0;
  for (const [row, { reply, answer = reply, kind = "all" }] of questions.entries()) {
    const said = replies[row].slice(replies[row].lastIndexOf("</think>") + 1);
    tally.add(kind, says(said, answer));
    exact += Number(replies[row] === reply.trim());
  }
  tally.print("answers");
  console.log(`  [${exact} replies to the letter, ${((100 * exact) / questions.length).toFixed(1)}%]`);
}

/** Whether a text holds an answer; a number counts as a whole one. */
const says = (text: string, answer: string) =>
  /^\d+$/.test(answer) ? new RegExp(`(?<!\\d)${answer}(?!\\d)`).test(text) : text.includes(answer);
