import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openSafetensors } from "../../framework/checkpoint/safetensors.ts";
import {
  CausalLM,
  loadAdapter,
  loadModel,
  loadTokenizer,
  manualSeed,
  noGrad,
  saveModel,
} from "../../framework/index.ts";
import { worst } from "../kernels/launch.ts";
import "../ops/support.ts";
import { bytesOf, curve, home, interrupted, metrics, recipe, small } from "./support.ts";

setDefaultTimeout(120_000);

/** Conversations of a question and its answer. */
function conversations(name: string, pairs: [string, string][]): string {
  const line = ([question, answer]: [string, string]) =>
    JSON.stringify({
      conversations: [
        { role: "user", content: question },
        { role: "assistant", content: answer },
      ],
    });
  writeFileSync(join(home, name), pairs.map((pair) => `${line(pair)}\n`).join(""));
  return join(home, name);
}
const own = conversations(
  "own.jsonl",
  Array.from({ length: 12 }, (_, i) => [`Who are you${"?".repeat(1 + (i % 3))}`, "Fox."]),
);
const base = conversations(
  "base.jsonl",
  Array.from({ length: 12 }, (_, i) => [`Dog ${i}?`, `${i}.`]),
);

/** Flags of a run of a second, from the model in `from`. */
function flags(dir: string, from: string, ...more: string[]): string[] {
  const values: Record<string, string | number> = {
    from: join(home, from),
    "lora.rank": 2,
    "lora.dropout": 0.1,
    "data.path": own,
    "data.heldOut": own,
    "data.basePath": base,
    "data.replay": 2,
    "data.baseHeldOut": base,
    "data.seqLen": 48,
    "train.batchSize": 2,
    "train.steps": 12,
    "train.warmup": 2,
    "train.learningRate": 0.02,
    "eval.every": 6,
    "eval.questions": 2,
    "eval.tokens": 4,
    "sample.every": 6,
    "sample.count": 1,
    "save.every": 4,
    "run.dir": join(home, dir),
  };
  return [...Object.entries(values).flatMap(([key, value]) => [`--${key}`, String(value)]), ...more];
}

test("a run leaves an adapter that loads, metrics of what it learns and of what the base knew, samples, states", async () => {
  expect((await recipe("pretrain.ts", small("base", "--train.steps", "8"))).code).toBe(0);
  const before = bytesOf("base", "model.safetensors");
  const { code, text } = await recipe("lora.ts", flags("lora", "base"));
  expect(text).toMatch(/12 steps of 192 tokens; \d+ parameters beside \d+ frozen ones: \d+\.\d%/);
  expect(code).toBe(0);
  const files = readdirSync(join(home, "lora"));
  for (const name of ["adapter_config.json", "adapter_model.safetensors", "config.jsonc", "curve.svg", "samples.md"])
    expect(files).toContain(name);
  expect(files).not.toContain("model.safetensors");
  expect(readdirSync(join(home, "lora/state")).sort()).toEqual(["step-000008", "step-000012"]);
  const lines = metrics("lora");
  for (const at of [0, 6, 12])
    expect([typeof lines[at].exactMatch, typeof lines[at].baseMatch]).toEqual(["number", "number"]);
  expect(lines[12].loss as number).toBeLessThan((lines[1].loss as number) - 0.2);
  expect(bytesOf("base", "model.safetensors")).toBe(before);

  const model = await loadModel(join(home, "base"));
  const adapter = await loadAdapter(model, join(home, "lora"), { tokenizer: loadTokenizer(join(home, "base")) });
  expect(adapter.options).toMatchObject({ rank: 2, alpha: 16, dropout: 0.1 });
  const file = openSafetensors(join(home, "lora/adapter_model.safetensors"));
  expect(new Set(file.names().map((name) => file.info(name).dtype))).toEqual(new Set(["F16"]));
  model.dispose();
});

test("it goes on after kill -9 as if it had never stopped, bit for bit", async () => {
  await interrupted(flags("killed-lora", "base"), "killed-lora", 5, "SIGKILL", "lora.ts");
  expect(metrics("killed-lora").at(-1)?.step).toBeLessThan(12);
  expect((await recipe("lora.ts", ["--resume", join(home, "killed-lora")])).code).toBe(0);
  expect(curve("killed-lora")).toEqual(curve("lora"));
  const name = "adapter_model.safetensors";
  expect(bytesOf("killed-lora", name)).toBe(bytesOf("lora", name));
});

test("--merge writes a model that says what base and adapter say, and overwrites none", async () => {
  const merged = join(home, "merged");
  const merge = ["--resume", join(home, "lora"), "--merge", merged];
  expect((await recipe("lora.ts", merge)).code).toBe(0);
  const model = await loadModel(join(home, "base"));
  const adapter = (await loadAdapter(model, join(home, "lora"))).attach();
  const whole = await loadModel(merged);
  const logits = async (of: typeof model) => noGrad(() => of.eval().forward([[5, 6, 7, 8]])).data();
  expect(worst(await logits(whole), await logits(model))).toBeLessThan(1e-2); // the adapter's file is F16
  expect(existsSync(join(merged, "tokenizer.json"))).toBe(true);
  for (const m of [adapter, model, whole]) m.dispose();
  const again = await recipe("lora.ts", merge);
  expect(again.text).toContain("merged holds a model; choose another folder, or delete that one");
  expect(again.code).not.toBe(0);
});

test("bad input is an error in words", async () => {
  const fails = async (args: string[], message: RegExp | string) => {
    const { code, text } = await recipe("lora.ts", args);
    expect(text).toMatch(message);
    expect(text).not.toMatch(/\n\s+at .*\.ts:\d+/); // no stack
    expect(code).not.toBe(0);
  };
  await fails(flags("bad", "base", "--lora.targets", "qkv"), 'lora: targets hold "qkv", expected some of q_proj');
  await fails(["--lora.name", "pirate"], "--data.path: the corpus has no pirate.jsonl");
  await fails(["--lora.name", ".."], '--lora.name is "..", expected a folder\'s name');
  await fails(flags("bad", "base", "--merge", join(home, "bad")), "bad is the adapter's own folder");
  await fails(["--lora.name", "../x"], '--lora.name is "../x", expected a folder\'s name');
  await fails(flags("bad", "lora"), "holds an adapter, not a model");
  await fails(flags("bad", "base", "--data.path", join(home, "small.jsonl")), /small\.jsonl:1: .*pretrain/);
  await fails(["--resume", join(home, "lora"), "--lora.rank", "4"], /lora\.rank/);

  const file = "model.safetensors";
  const kept = readFileSync(join(home, "base", file));
  manualSeed(9);
  const { config } = await loadModel(join(home, "base"));
  const other = new CausalLM(config);
  await saveModel(other, join(home, "base"));
  other.dispose();
  await fails(
    ["--resume", join(home, "lora"), "--merge="],
    "the data, the tokenizer, the base or the teacher has changed",
  );
  writeFileSync(join(home, "base", file), kept);
});
