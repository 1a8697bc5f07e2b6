import { beforeAll, describe, expect, test } from "bun:test";
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testGpu } from "../kernels/launch.ts";
import { bytesOf, curve, home, interrupted, metrics, recipe, small } from "./support.ts";

const LONG = 120_000;
const real = join(import.meta.dir, "../../../shared/data/dpo_zh.jsonl");

const message = (role: string, content: string) => ({ role, content });
const pair = (i: number, question = `What is fox ${i}?`) => ({
  chosen: [message("user", question), message("assistant", `It is ${i % 7}. I am glad to help.`)],
  rejected: [message("user", question), message("assistant", `It is ${i % 7}. That is all.`)],
});

function write(name: string, lines: readonly unknown[]): string {
  const path = join(home, name);
  writeFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  return path;
}

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);
const train = write(
  "dpo.jsonl",
  numbers(0, 20).map((i) => pair(i)),
);
const heldOut = write(
  "dpo.heldout.jsonl",
  numbers(20, 25).map((i) => pair(i)),
);

/** Flags of a run of 12 steps on 20 pairs of 64 tokens. */
function preferring(dir: string, flags: Record<string, string | number | boolean> = {}): string[] {
  const all = {
    from: join(home, "dpo-base"),
    "data.path": train,
    "data.heldOut": heldOut,
    "data.seqLen": 96,
    "train.batchSize": 3,
    "train.steps": 12,
    "train.warmup": 2,
    "train.learningRate": 0.002,
    "eval.every": 6,
    "sample.tokens": 4,
    "sample.count": 2,
    "save.every": 4,
    "run.dir": join(home, dir),
    ...flags,
  };
  return Object.entries(all).flatMap(([key, value]) => [`--${key}`, String(value)]);
}

beforeAll(async () => {
  const { code, text } = await recipe("pretrain.ts", small("dpo-base"));
  if (code !== 0) throw new Error(text);
}, LONG);

test(
  "a model of experts keeps its balance loss",
  async () => {
    const sizes = ["--model.num_experts", "2", "--train.steps", "4", "--eval.every", "0"];
    expect((await recipe("pretrain.ts", small("dpo-experts", ...sizes))).code).toBe(0);
    const run = { from: join(home, "dpo-experts"), "train.steps": 1 };
    expect((await recipe("dpo.ts", preferring("dpo-of-experts", run))).code).toBe(0);
    const [before, after] = metrics("dpo-of-experts");
    expect(before.valLoss).toBeCloseTo(Math.LN2, 4);
    expect(after.auxLoss as number).toBeGreaterThan(1e-4);
    expect((after.loss as number) - (after.auxLoss as number)).toBeCloseTo(Math.LN2, 4);
  },
  LONG,
);

test(
  "a run makes the chosen replies likelier than the rejected ones, on pairs that it never saw",
  async () => {
    const { code, text } = await recipe("dpo.ts", preferring("dpo"));
    expect(text).toContain("20 pairs; 5 held out");
    expect(text).toContain("12 steps of 3 pairs: 1.7 passes over the data");
    expect(code).toBe(0);
    const files = readdirSync(join(home, "dpo"));
    for (const name of ["model.safetensors", "tokenizer.json", "reference.safetensors", "samples.md", "curve.svg"])
      expect(files).toContain(name);
    const lines = metrics("dpo");
    const [first, last] = [lines[0], lines.at(-1)!];
    expect(first.valLoss).toBeCloseTo(Math.LN2, 4); // the model is its own reference
    expect(first.margin).toBeCloseTo(0, 4);
    expect(last.valLoss as number).toBeLessThan(0.6);
    expect(last.margin as number).toBeGreaterThan(0.2);
    expect(last.rewardAccuracy).toBe(1);
    expect(last.accuracy as number).toBeGreaterThan(first.accuracy as number);
    expect((last.chosenReward as number) - (last.rejectedReward as number)).toBeCloseTo(last.margin as number, 4);
    const samples = readFileSync(join(home, "dpo/samples.md"), "utf8");
    for (const part of ["What is fox 20?", "What is fox 22?", "tep 0", "tep 12"]) expect(samples).toContain(part);
  },
  LONG,
);

test(
  "the reference's answers, computed once, are to the bit those of the model in memory",
  async () => {
    const { code } = await recipe("dpo.ts", preferring("dpo-frozen", { "dpo.precompute": false }));
    expect(code).toBe(0);
    expect(existsSync(join(home, "dpo-frozen/reference.safetensors"))).toBe(false);
    expect(curve("dpo-frozen")).toEqual(curve("dpo"));
    expect(bytesOf("dpo-frozen", "model.safetensors")).toBe(bytesOf("dpo", "model.safetensors"));
  },
  LONG,
);

describe("a run that does not reach its end", () => {
  test(
    "goes on after Ctrl-C as if it had never stopped, bit for bit, and finds the reference's answers",
    async () => {
      const stopped = await interrupted(preferring("dpo-stopped"), "dpo-stopped", 5, "SIGINT", "dpo.ts");
      expect(stopped.text).toMatch(/go on after step \d+: {2}bun recipes\/dpo\.ts --resume/);
      expect(stopped.code).toBe(130);
      const { code, text } = await recipe("dpo.ts", ["--resume", join(home, "dpo-stopped")]);
      expect(code).toBe(0);
      expect(text).not.toContain("asking the reference");
      expect(curve("dpo-stopped")).toEqual(curve("dpo"));
      expect(bytesOf("dpo-stopped", "model.safetensors")).toBe(bytesOf("dpo", "model.safetensors"));
    },
    LONG,
  );

  test(
    "does not go on against another reference than it began with",
    async () => {
      cpSync(join(home, "dpo-base"), join(home, "dpo-base2"), { recursive: true });
      const from = join(home, "dpo-base2");
      await recipe("dpo.ts", preferring("dpo-moved", { from, "train.steps": 4, "dpo.precompute": false }));
      cpSync(join(home, "dpo/model.safetensors"), join(from, "model.safetensors"));
      const { code, text } = await recipe("dpo.ts", ["--resume", join(home, "dpo-moved")]);
      expect(text).toContain(`--from: ${from} is no longer the model that this run began with`);
      expect(code).toBe(1);
    },
    LONG,
  );
});

test.each(["ipo", "simpo"])(
  "%s lowers its loss on held-out pairs",
  async (loss) => {
    const dir = `dpo-${loss}`;
    const { code, text } = await recipe(
      "dpo.ts",
      preferring(dir, { "dpo.loss": loss, "train.steps": 6, "train.accumulate": 2 }),
    );
    expect([code, text]).toEqual([0, expect.stringContaining("6 steps of 6 pairs")]);
    expect(existsSync(join(home, dir, "reference.safetensors"))).toBe(loss === "ipo");
    const lines = metrics(dir);
    expect(lines.at(-1)?.valLoss as number).toBeLessThan(lines[0].valLoss as number);
  },
  LONG,
);

test.skipIf(!(await testGpu()).target.f16)(
  "in f16 the loss stays near that in f32",
  async () => {
    const { code } = await recipe("dpo.ts", preferring("dpo-half", { "train.precision": "f16" }));
    expect(code).toBe(0);
    const [half, whole] = [metrics("dpo-half"), metrics("dpo")];
    expect(Math.abs((half.at(-1)?.valLoss as number) - (whole.at(-1)?.valLoss as number))).toBeLessThan(0.05);
  },
  LONG,
);

describe("what does not fit is named, and nothing is written", () => {
  const other = [message("user", "Another question?"), message("assistant", "Yes.")];
  const cases: { what: string; flags: () => Record<string, string | number>; message: string }[] = [
    {
      what: "prompts that differ",
      flags: () => ({ "data.path": write("differ.jsonl", [pair(1), { ...pair(2), rejected: other }]) }),
      message: "differ.jsonl:2: the prompts differ",
    },
    {
      what: "data of another stage",
      flags: () => ({ "data.path": write("text.jsonl", [{ text: "The quick brown fox." }]) }),
      message: "recipes/pretrain.ts",
    },
    { what: "no base", flags: () => ({ from: "out/none" }), message: "--from: there is no out/none" },
    {
      what: "label smoothing of a loss that has none",
      flags: () => ({ "dpo.loss": "ipo", "dpo.labelSmoothing": 0.1 }),
      message: "--dpo.labelSmoothing: ipo has none",
    },
  ];
  test.each(cases)(
    "$what",
    async ({ flags, message }) => {
      const { code, text } = await recipe("dpo.ts", preferring("dpo-refused", flags()));
      expect(text).toContain(message);
      expect(code).toBeGreaterThan(0);
      expect(existsSync(join(home, "dpo-refused/metrics.jsonl"))).toBe(false);
    },
    LONG,
  );
});

test("--help lists every key", async () => {
  const { code, text } = await recipe("dpo.ts", ["--help"]);
  expect(code).toBe(0);
  for (const name of ["from", "data.heldOut", "dpo.loss", "dpo.beta", "dpo.gamma", "dpo.precompute", "eval.every"])
    expect(text).toContain(`--${name}`);
});

test.skipIf(!existsSync(real))(
  "reads real preferences",
  async () => {
    const { code, text } = await recipe(
      "dpo.ts",
      preferring("dpo-real", { "data.path": real, "train.steps": 2, "data.heldOut": "" }),
    );
    expect(text).toContain("300 pairs");
    expect(code).toBe(0);
  },
  LONG,
);
