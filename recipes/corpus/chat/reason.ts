import type { Lang } from "../facts/types.ts";
import { randomStream } from "../random.ts";
import { conversation, heldLine, langs } from "./conversations.ts";
import { askProblem, type Problem, problems, termOf } from "./problems.ts";
import type { Conversation, Exchange, HeldConversation } from "./types.ts";

/** Problems to train on, each in one language, and problems held out. */
const [trained, heldOut] = [1200, 150];

const words: Readonly<Record<Lang, Record<"ones" | "tens" | "carry" | "borrow" | "stop", string>>> = {
  zh: { ones: "个位", tens: "十位", carry: "，进1", borrow: "，借1", stop: "。" },
  en: { ones: "Ones: ", tens: "Tens: ", carry: ", carry 1", borrow: ", borrow 1", stop: ". " },
};

/** The problem worked out digit by digit, ones first: "47+38。个位7+8=15，进1。十位4+3+1=8。" */
function trace(problem: Problem, lang: Lang): string {
  const { operation, a, b, result } = problem;
  const { ones, tens, carry, borrow, stop } = words[lang];
  const [a1, b1, a10, b10] = [a % 10, b % 10, Math.floor(a / 10), Math.floor(b / 10)];
  const sign = operation === "add" ? "+" : "-";
  const moved = operation === "add" ? a1 + b1 > 9 : a1 < b1;
  const first = operation === "subtract" && moved ? a1 + 10 : a1; // 81-46: 11-6
  const onesResult = operation === "add" ? a1 + b1 : first - b1;
  const note = moved ? (operation === "add" ? carry : borrow) : "";
  return [
    termOf(problem) + stop,
    `${ones}${first}${sign}${b1}=${onesResult}${note}${stop}`,
    `${tens}${a10}${sign}${b10}${moved ? `${sign}1` : ""}=${Math.floor(result / 10)}${stop}`,
  ]
    .join("")
    .trimEnd();
}

const exchange = (problem: Problem, lang: Lang, ask: string): Exchange => ({
  lang,
  ask,
  reply: `<think>\n${trace(problem, lang)}\n</think>\n<answer>\n${problem.result}\n</answer>`,
  fact: `problem:${termOf(problem)}`,
});

/** reason.jsonl: additions and subtractions up to 99 with their traces. */
export function reasonConversations(): Conversation[] {
  const random = randomStream("reason");
  return random.shuffle(problems("train", trained)).map((problem, i) => {
    const lang = langs[i % langs.length]!;
    return conversation([exchange(problem, lang, askProblem(problem, lang, random))]);
  });
}

/** reason.heldout.jsonl: sums that no training file has, in both languages. */
export function reasonHeldout(): HeldConversation[] {
  const random = randomStream("reason.heldout");
  return problems("held", heldOut).flatMap((problem) =>
    langs.map((lang) => heldLine(exchange(problem, lang, askProblem(problem, lang, random)), String(problem.result))),
  );
}
