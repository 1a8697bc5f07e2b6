import type { Operation } from "../facts/arithmetic.ts";
import type { QuestionTable } from "./types.ts";

/** The four operations are asked alike, but for the sign and the verb. */
const table = (sign: string, verb: string): QuestionTable => ({
  zh: {
    reply: `{a}${sign}{b}={o}。`,
    asks: [
      `{a}${sign}{b}等于几？`,
      `{a}${sign}{b}等于多少？`,
      "{s}等于几？",
      "{s}等于多少？",
      `算一算，{a}${sign}{b}。`,
      `${verb}：{a}${sign}{b}。`,
      `{a}${sign}{b}的结果是什么？`,
    ],
    held: ["请问{s}是多少？", `算一算{a}${sign}{b}等于多少。`],
  },
  en: {
    reply: `{a}${sign}{b}={o}.`,
    asks: [
      "What is {s}?",
      `What is {a}${sign}{b}?`,
      `Work out {a}${sign}{b}.`,
      "Tell me what {s} is.",
      `What does {a}${sign}{b} make?`,
      `Do you know {a}${sign}{b}?`,
      "Work out {s}.",
    ],
    held: ["How much is {s}?", `Tell me what {a}${sign}{b} is.`],
  },
});

export const arithmeticQuestions = {
  add: table("+", "计算加法"),
  subtract: table("-", "计算减法"),
  multiply: table("×", "计算乘法"),
  divide: table("÷", "计算除法"),
} as const satisfies Record<Operation, QuestionTable>;
