/** What every stage refuses, and that it harms nothing. What one stage alone refuses stands in its own test. */
import { beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSafetensors, writeSafetensors } from "../../framework/checkpoint/safetensors.ts";
import { bytesOf, home, recipe, small } from "./support.ts";

const LONG = 240_000;
const at = (name: string) => join(home, name);

function write(name: string, lines: readonly (object | string)[]): string {
  const text = lines.map((line) => `${typeof line === "string" ? line : JSON.stringify(line)}\n`).join("");
  writeFileSync(at(name), text);
  return at(name);
}

const user = (content: string) => ({ role: "user", content });
const assistant = (content: string, more: object = {}) => ({ role: "assistant", content, ...more });
const thought = "<think>\n1+1\n</think>\n<answer>\n2\n</answer>";
const pair = (question: string) => ({
  chosen: [user(question), assistant("It is a fox.")],
  rejected: [user(question), assistant("It is a dog.")],
});
const good = {
  conversations: write("good.jsonl", [
    { conversations: [user("1+1?"), assistant(thought)] },
    { conversations: [user("What?"), assistant(thought)] },
  ]),
  preferences: write("good.dpo.jsonl", [pair("Who?"), pair("What?")]),
};

/** The stages, with the flag that names what they start from. */
const stages = [
  { script: "sft.ts", from: "--from", data: good.conversations },
  { script: "lora.ts", from: "--from", data: good.conversations },
  { script: "dpo.ts", from: "--from", data: good.preferences },
  { script: "distill.ts", from: "--teacher", data: good.conversations },
  { script: "reason.ts", from: "--from", data: good.conversations },
];

const flags = ({ from, data }: (typeof stages)[number], dir: string, more: readonly string[]) => [
  ...[from, at("refusing-base"), "--data.path", data, "--train.steps", "2", "--data.seqLen", "64"],
  ...["--train.batchSize", "2", "--run.dir", at(dir), ...more],
];

beforeAll(async () => {
  const { code, text } = await recipe("pretrain.ts", small("refusing-base", "--train.steps", "1"));
  if (code !== 0) throw new Error(text);
}, LONG);

async function refused(script: string, args: readonly string[], message: string | RegExp, dir: string): Promise<void> {
  const { code, text } = await recipe(script, args);
  expect(text).toMatch(message);
  expect(text).not.toMatch(/\n\s+at .*\.ts:\d+/); // no stack
  expect(code).toBeGreaterThan(0);
  expect(existsSync(at(dir)) ? readdirSync(at(dir)) : []).toEqual([]);
}

describe.each(stages)("$script", (stage) => {
  const { script, from } = stage;
  const refuses = (more: readonly string[], message: string | RegExp) =>
    refused(script, flags(stage, "refused", more), message, "refused");

  test(
    "does not write into the folder of its base",
    async () => {
      const [names, before] = [readdirSync(at("refusing-base")), bytesOf("refusing-base", "model.safetensors")];
      for (const more of [[], ["--run.overwrite", "true"]]) {
        const { code, text } = await recipe(script, flags(stage, "refusing-base", more));
        expect(text).toContain(`is the folder that ${from} names, which the run would overwrite`);
        expect(code).toBe(2);
      }
      expect(readdirSync(at("refusing-base"))).toEqual(names);
      expect(bytesOf("refusing-base", "model.safetensors")).toBe(before);
    },
    LONG,
  );

  test(
    "a base that is no folder, has broken weights or too few positions",
    async () => {
      const file = at("refusing-base/model.safetensors");
      await refuses([from, file], `${from}: ${file} is a file, expected a folder`);
      await refuses([from, await brokenBase()], "model.norm.weight holds NaN or Infinity: the weights are broken");
      await refuses(["--data.seqLen", "2000"], /its model has 1024 positions .* too few for rows of 2000 tokens/);
    },
    LONG,
  );

  test(
    "data of another stage, and lines that are not what they should be",
    async () => {
      const other = script === "dpo.ts" ? good.conversations : good.preferences;
      const reader = script === "dpo.ts" ? "sft" : "dpo";
      await refuses(["--data.path", other], new RegExp(`${other}:1: holds \\w+, for recipes/${reader}\\.ts`));
      const line = (messages: object[]) =>
        script === "dpo.ts" ? { chosen: messages, rejected: messages } : { conversations: messages };
      const calls = [user("a"), assistant("", { tool_calls: '[{"name": ' })];
      await refuses(["--data.path", write("calls.jsonl", [line(calls)])], /calls\.jsonl:1: .*tool_calls: not JSON/);
      await refuses(
        [
          "--data.path",
          write("roles.jsonl", [line([user("a"), assistant("b")]), line([{ role: "robot", content: "a" }])]),
        ],
        /roles\.jsonl:2: .*the role is "robot"/,
      );
      await refuses(["--data.path", write("none.jsonl", [line([])])], /none\.jsonl:1: .*empty/);
      await refuses(["--data.path", write("half.jsonl", ['{"conversations'])], /half\.jsonl:1: not JSON/);
    },
    LONG,
  );

  test(
    "rows too short for any reply, an empty held-out file, and a question that fills the model",
    async () => {
      await refuses(["--data.heldOut", write("nothing.jsonl", [])], "nothing.jsonl: the file is empty");
      if (script === "dpo.ts") return; // which cuts prompts, and asks those that fit
      await refuses(["--data.seqLen", "2"], "has a token of the assistant's to train on within 2 tokens");
      const long = [user("fox ".repeat(1200)), assistant("b")];
      await refuses(
        ["--data.heldOut", write("long.jsonl", [{ conversations: long }])],
        /long\.jsonl:1: the \d+ tokens before the reply leave no room/,
      );
    },
    LONG,
  );
});

/** The base with a NaN among its weights. */
async function brokenBase(): Promise<string> {
  const folder = at("broken-base");
  if (existsSync(folder)) return folder;
  mkdirSync(folder);
  for (const name of readdirSync(at("refusing-base")).filter((name) => name.endsWith(".json")))
    copyFileSync(at(`refusing-base/${name}`), join(folder, name));
  const stored = openSafetensors(at("refusing-base/model.safetensors"));
  const tensors = stored.names().map((name) => [name, stored.get(name)] as const);
  (new Map(tensors).get("model.norm.weight")?.data as Float32Array)[1] = Number.NaN;
  await writeSafetensors(join(folder, "model.safetensors"), new Map(tensors));
  stored.close();
  return folder;
}

test(
  "replies that do not think are not for reason",
  async () => {
    const plain = write("plain.jsonl", [
      { conversations: [user("a"), assistant("b")] },
      { conversations: [user("b"), assistant("c")] },
    ]);
    const args = flags({ ...stages[4], data: plain }, "refused", []);
    await refused("reason.ts", args, /plain\.jsonl: no reply thinks, for recipes\/sft\.ts/, "refused");
  },
  LONG,
);
