import type { Lang } from "../facts/types.ts";
import { type Random, randomStream } from "../random.ts";
import { drawWords, fill } from "../text.ts";

/** An addition or subtraction of numbers up to 99, worked out digit by digit. */
export interface Problem {
  readonly operation: "add" | "subtract";
  readonly a: number;
  readonly b: number;
  readonly result: number;
}

/** How a problem is asked, with numbers alone or as a little story; all ways are used in training and held out. */
const asks: Readonly<Record<Problem["operation"], Readonly<Record<Lang, readonly string[]>>>> = {
  add: {
    zh: [
      "{a}+{b}等于多少？",
      "{a}加{b}等于多少？",
      "{name}有{a}个{fruit}，又买了{b}个，一共有多少个？",
      "篮子里有{a}个{fruit}，又放进{b}个，现在有多少个？",
    ],
    en: [
      "What is {a}+{b}?",
      "What is {a} plus {b}?",
      "{name} has {a} {fruit} and gets {b} more. How many are there in all?",
      "{name} scored {a} in the first game and {b} in the second. What is the total?",
    ],
  },
  subtract: {
    zh: [
      "{a}-{b}等于多少？",
      "{a}减{b}等于多少？",
      "{name}有{a}个{fruit}，吃了{b}个，还剩多少个？",
      "篮子里有{a}个{fruit}，{name}拿走了{b}个，还剩多少个？",
    ],
    en: [
      "What is {a}-{b}?",
      "What is {a} minus {b}?",
      "{name} has {a} {fruit} and eats {b}. How many are left?",
      "{name} had {a} points and lost {b}. What is the score now?",
    ],
  },
};

/**
 * Sums of x and y, x the larger and at least 10, up to 99. A sum is for training or held out with all that follows from
 * it: y+x, and both subtractions.
 */
function sums(): [x: number, y: number][] {
  const all: [number, number][] = [];
  for (let x = 10; x <= 98; x++) for (let y = 1; y <= Math.min(x, 99 - x); y++) all.push([x, y]);
  return randomStream("sums").shuffle(all);
}

const heldSums = 150;

/** The problems of one split, each of a sum of its own: additions both ways around, and as many subtractions. */
export function problems(split: "train" | "held", count: number): Problem[] {
  const all = sums();
  const own = split === "held" ? all.slice(0, heldSums) : all.slice(heldSums);
  return own.slice(0, count).map(([x, y], i): Problem => {
    if (i % 2 === 1) return { operation: "subtract", a: x + y, b: y, result: x };
    const [a, b] = i % 4 === 0 ? [x, y] : [y, x];
    return { operation: "add", a, b, result: x + y };
  });
}

/** The problem as a question. */
export function askProblem({ operation, a, b }: Problem, lang: Lang, random: Random): string {
  return fill(random.pick(asks[operation][lang]), { ...drawWords(lang, random), a: String(a), b: String(b) });
}

/** The problem written with its sign: "47+38". */
export const termOf = ({ operation, a, b }: Problem): string => `${a}${operation === "add" ? "+" : "-"}${b}`;

/** The reply without a trace, as sft.jsonl has it: "47+38=85。" */
export const directReply = (problem: Problem, lang: Lang): string =>
  `${termOf(problem)}=${problem.result}${lang === "zh" ? "。" : "."}`;
