import { beforeAll, expect, test } from "bun:test";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { testGpu } from "../kernels/launch.ts";
import { bytesOf, curve, home, interrupted, metrics, recipe, small } from "./support.ts";

const LONG = 120_000;
const conversations = join(home, "distill.jsonl");
writeFileSync(
  conversations,
  Array.from({ length: 60 }, (_, i) => {
    const [question, reply] = [`What comes after ${i % 20}?`, `After ${i % 20} comes ${(i % 20) + 1}.`];
    return `${JSON.stringify({
      conversations: [
        { role: "user", content: question },
        { role: "assistant", content: reply },
      ],
    })}\n`;
  }).join(""),
);

/** Flags of a run that takes seconds: a student of half the width and depth of a teacher of 30,000 parameters. */
const flags = (dir: string, ...more: string[]) => {
  const values: Record<string, string | number> = {
    teacher: join(home, "teacher"),
    "data.path": conversations,
    "data.heldOut": conversations,
    "data.seqLen": 64,
    "data.valShare": 0.1,
    "train.batchSize": 2,
    "train.steps": 10,
    "train.warmup": 2,
    "train.learningRate": 0.01,
    "eval.every": 5,
    "eval.batches": 2,
    "eval.questions": 3,
    "eval.tokens": 8,
    "sample.count": 2,
    "save.every": 4,
    "run.dir": join(home, dir),
  };
  return [...Object.entries(values).flatMap(([key, value]) => [`--${key}`, String(value)]), ...more];
};

beforeAll(async () => {
  const { code, text } = await recipe("pretrain.ts", small("teacher", "--train.steps", "6", "--eval.every", "0"));
  if (code !== 0) throw new Error(text);
}, LONG);

test(
  "a student of half the teacher's sizes learns from it; --resume after kill -9 gives the same bits",
  async () => {
    const { code, text } = await recipe("distill.ts", flags("distilled"));
    expect(text).toContain("a teacher of");
    expect(code).toBe(0);
    const sizes = JSON.parse(readFileSync(join(home, "distilled/config.json"), "utf8"));
    expect([sizes.hidden_size, sizes.num_hidden_layers, sizes.intermediate_size]).toEqual([16, 1, 32]);
    const lines = metrics("distilled");
    for (const [at, names] of [
      [1, ["ce", "kl"]],
      [10, ["valLoss", "exactMatch"]],
    ] as const)
      for (const name of names) expect(typeof lines[at][name]).toBe("number");
    expect(lines[10].ce as number).toBeLessThan(lines[1].ce as number);
    await interrupted(flags("killed-student"), "killed-student", 6, "SIGKILL", "distill.ts");
    expect((await recipe("distill.ts", ["--resume", join(home, "killed-student")])).code).toBe(0);
    expect(curve("killed-student")).toEqual(curve("distilled"));
    expect(bytesOf("killed-student", "model.safetensors")).toBe(bytesOf("distilled", "model.safetensors"));
  },
  LONG,
);

test(
  "alpha 1 trains without the teacher, and a trained student may go on",
  async () => {
    const alone = await recipe("distill.ts", flags("alone", "--distill.alpha", "1", "--train.steps", "4"));
    expect(alone.text).toContain("without its teacher");
    expect(alone.code).toBe(0);
    expect(metrics("alone")[1].kl).toBeUndefined();
    const on = await recipe("distill.ts", flags("on", "--from", join(home, "alone"), "--train.steps", "2"));
    expect(on.code).toBe(0);
    expect(metrics("on")[0].valLoss).toBe(metrics("alone")[4].valLoss);
  },
  LONG,
);

test.skipIf(!(await testGpu()).target.f16)(
  "in f16 the student learns much the same",
  async () => {
    const { code, text } = await recipe("distill.ts", flags("half-student", "--train.precision", "f16"));
    expect(text).not.toContain("error");
    expect(code).toBe(0);
    const [half, whole] = [metrics("half-student"), metrics("distilled")];
    for (const name of ["kl", "gradNorm"])
      expect(Math.abs((half[2][name] as number) / (whole[2][name] as number) - 1)).toBeLessThan(0.02);
    expect(Math.abs((half[10].valLoss as number) / (whole[10].valLoss as number) - 1)).toBeLessThan(0.02);
  },
  LONG,
);

test(
  "a student of experts keeps its balance loss, and learns nothing from itself at first",
  async () => {
    const sizes = ["--model.num_experts", "2", "--train.steps", "4", "--eval.every", "0"];
    expect((await recipe("pretrain.ts", small("experts", ...sizes))).code).toBe(0);
    const folders = ["--teacher", join(home, "experts"), "--from", join(home, "experts")];
    const { code } = await recipe("distill.ts", flags("own-pupil", ...folders, "--train.steps", "1"));
    expect(code).toBe(0);
    const { loss, ce, kl } = metrics("own-pupil")[1];
    expect(Math.abs(kl as number)).toBeLessThan(1e-5);
    expect(loss as number).toBeGreaterThan((ce as number) / 2 + 1e-5);
  },
  LONG,
);

test(
  "teacher and student of other tokenizers, sizes that do not fit, and no teacher are errors in words",
  async () => {
    await recipe("pretrain.ts", small("experts-less", "--train.steps", "1", "--eval.every", "0"));
    await recipe("pretrain.ts", small("stranger", "--train.steps", "1", "--tokenizer.vocabSize", "330"));
    const fails = async (args: string[], message: RegExp) => {
      const { code, text } = await recipe("distill.ts", args);
      expect(text).toMatch(message);
      expect(text).not.toMatch(/\n\s+at .*\.ts:\d+/);
      expect(code).not.toBe(0);
    };
    await fails(flags("bad", "--from", join(home, "stranger")), /different tokenizers \(320 and 330 tokens\)/);
    await fails(
      flags("bad", "--teacher", "out/sft"),
      /--teacher: there is no out\/sft; make it with: bun recipes\/sft\.ts/,
    );
    await fails(flags("bad", "--model.num_attention_heads", "3"), /model config: /);
    await fails(flags("bad", "--from", "x", "--model.hidden_size", "8"), /--model: the student that --from names/);
    await fails(["--resume", join(home, "distilled"), "--distill.temperature", "4"], /distill\.temperature/);
    copyFileSync(join(home, "experts-less/model.safetensors"), join(home, "teacher/model.safetensors"));
    await fails(["--resume", join(home, "distilled")], /the base or the teacher has changed since the run began/);
  },
  LONG,
);
