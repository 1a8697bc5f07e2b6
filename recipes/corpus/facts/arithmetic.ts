import type { Name } from "./types.ts";

/** The four operations: how a task is read aloud, its sign, and its result. */
export const operations = {
  add: { zh: "加", en: "plus", sign: "+", of: (a: number, b: number) => a + b },
  subtract: { zh: "减", en: "minus", sign: "-", of: (a: number, b: number) => a - b },
  multiply: { zh: "乘以", en: "times", sign: "×", of: (a: number, b: number) => a * b },
  divide: { zh: "除以", en: "divided by", sign: "÷", of: (a: number, b: number) => a / b },
} as const;

export type Operation = keyof typeof operations;

/** A task of arithmetic: its operation, its two terms, its name and its result. */
export interface Task {
  readonly operation: Operation;
  readonly terms: readonly [number, number];
  readonly subject: Name;
  readonly object: Name;
}

/** Every task with one-digit numbers: the tables of addition and multiplication for 1 to 9, and both read backwards. */
export function arithmetic(): Task[] {
  const tasks: Task[] = [];
  const put = (operation: Operation, a: number, b: number) => {
    const { zh, en, of } = operations[operation];
    const result = String(of(a, b));
    tasks.push({
      operation,
      terms: [a, b],
      subject: { zh: `${a}${zh}${b}`, en: `${a} ${en} ${b}` },
      object: { zh: result, en: result },
    });
  };
  for (let a = 1; a <= 9; a++) {
    for (let b = 1; b <= 9; b++) {
      put("add", a, b);
      put("subtract", a + b, b);
      put("multiply", a, b);
      put("divide", a * b, b);
    }
  }
  return tasks;
}
