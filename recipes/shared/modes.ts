/** The stages that a model can be asked at: where each one's run lies, how it is prompted, and what it is asked. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { readJsonObject } from "../../framework/checkpoint/source.ts";
import { openings } from "../corpus/prompts.ts";
import { BaseError } from "./base.ts";

export interface Mode {
  name: string;
  /** The run folder where none is named. */
  run: string;
  /** Asked in the chat template; otherwise text is continued. */
  chat: boolean;
  questions: readonly string[];
  /** The corpus' file of questions whose answers are known. */
  heldOut: string;
  /** Recipes whose runs it is for. */
  recipes: readonly string[];
}

const general = [
  "请介绍一下自己。",
  "你更擅长哪一个学科？",
  "鲁迅的《狂人日记》是如何批判封建礼教的？",
  "我咳嗽已经持续了两周，需要去医院检查吗？",
  "详细的介绍光速的物理概念。",
  "推荐一些长沙的特色美食吧。",
  "请为我讲解“大语言模型”这个概念。",
  "如何理解ChatGPT？",
  "Introduce the history of the United States, please.",
];
const reasoning = [
  "小刚有27个橘子，又买了24个，一共有多少个？",
  "Jack has 27 apples and gets 24 more. How many are there in all?",
  "64减25等于多少？",
  "What is 85+13?",
  ...general,
];

/** In the order of their numbers. */
export const modes: readonly Mode[] = [
  {
    name: "pretrain",
    run: "out/pretrain",
    chat: false,
    questions: openings,
    heldOut: "heldout.jsonl",
    recipes: ["pretrain"],
  },
  {
    name: "sft",
    run: "out/sft",
    chat: true,
    questions: general,
    heldOut: "sft.heldout.jsonl",
    recipes: ["sft", "lora", "distill"],
  },
  { name: "rlhf", run: "out/dpo", chat: true, questions: general, heldOut: "sft.heldout.jsonl", recipes: ["dpo"] },
  {
    name: "reason",
    run: "out/reason",
    chat: true,
    questions: reasoning,
    heldOut: "reason.heldout.jsonl",
    recipes: ["reason"],
  },
  {
    name: "grpo",
    run: "out/grpo",
    chat: true,
    questions: reasoning,
    heldOut: "reason.heldout.jsonl",
    recipes: ["grpo", "ppo"],
  },
];

/** What `--mode` takes: a number, a name, or DPO's own. */
export const modeWords: readonly string[] = [...modes.keys(), ...modes.map(({ name }) => name), "dpo"].map(String);

export const modeOf = (word: string): Mode =>
  modes.find(({ name, recipes }, number) => [name, String(number), ...recipes].includes(word)) as Mode;

/** The recipe whose run a folder holds, from the command line in its config.jsonc; undefined for other folders. */
export function recipeOf(run: string): string | undefined {
  const file = join(run, "config.jsonc");
  if (!existsSync(file)) return undefined;
  return /^\/\/ bun recipes\/(\w+)\.ts/.exec(readFileSync(file, "utf8"))?.[1];
}

/** Tokens of a row that a run was trained on: beyond them its model has seen no positions. Undefined for other folders. */
export function trainedLength(run: string): number | undefined {
  const file = join(run, "config.jsonc");
  if (!existsSync(file)) return undefined;
  const { data } = readJsonObject(file) as { data?: { seqLen?: unknown } };
  return typeof data?.seqLen === "number" ? data.seqLen : undefined;
}

/** The mode of a run's recipe; undefined for other folders. */
export function modeOfRun(run: string): Mode | undefined {
  const recipe = recipeOf(run);
  return modes.find(({ recipes }) => recipe !== undefined && recipes.includes(recipe));
}

const chatRuns = ["sft", "dpo", "distill", "reason", "ppo", "grpo"].map((recipe) => join("out", recipe));

/** The chat model that was trained last. @throws BaseError that says what makes one */
export function newestChatRun(): string {
  const trained = chatRuns.flatMap((run) => {
    const model = statSync(join(run, "model.safetensors"), { throwIfNoEntry: false });
    return model ? [{ run, time: model.mtimeMs }] : [];
  });
  const newest = trained.sort((a, b) => b.time - a.time)[0];
  if (newest) return newest.run;
  const before = existsSync("out/pretrain/model.safetensors") ? "" : "bun recipes/pretrain.ts, then ";
  throw new BaseError(
    `--run: there is no chat model yet (${chatRuns.join(", ")}); make one with: ${before}bun recipes/sft.ts, or name a run's folder, or a Hugging Face folder`,
  );
}
