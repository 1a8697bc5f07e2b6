import { beforeAll, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bytesOf, curve, home, interrupted, metrics, recipe, small } from "./support.ts";

const LONG = 120_000;
const traces = join(home, "traces.jsonl");
writeFileSync(
  traces,
  Array.from({ length: 60 }, (_, i) => {
    const [a, b] = [i % 9, (i * 7) % 9];
    const reply = `<think>\n${a}+${b}\n</think>\n<answer>\n${a + b}\n</answer>`;
    return `${JSON.stringify({
      conversations: [
        { role: "user", content: `${a}+${b}?` },
        { role: "assistant", content: reply },
      ],
      answer: `${a + b}`,
    })}\n`;
  }).join(""),
);

const flags = (dir: string, ...more: string[]) => {
  const values: Record<string, string | number> = {
    from: join(home, "thoughtless"),
    "data.path": traces,
    "data.heldOut": traces,
    "data.seqLen": 48,
    "data.valShare": 0.1,
    "train.batchSize": 2,
    "train.steps": 10,
    "train.warmup": 2,
    "train.learningRate": 0.01,
    "eval.every": 5,
    "eval.batches": 2,
    "eval.questions": 3,
    "eval.tokens": 24,
    "sample.count": 2,
    "save.every": 4,
    "run.dir": join(home, dir),
  };
  return [...Object.entries(values).flatMap(([key, value]) => [`--${key}`, String(value)]), ...more];
};

beforeAll(async () => {
  const { code, text } = await recipe("pretrain.ts", small("thoughtless", "--train.steps", "6", "--eval.every", "0"));
  if (code !== 0) throw new Error(text);
}, LONG);

test(
  "traces train a model that says what its base gave before; stopped by Ctrl-C it goes on bit for bit",
  async () => {
    const { code, text } = await recipe("reason.ts", flags("thinker"));
    expect(text).toMatch(/the base, asked directly: [\d.]+% of 60 answers are right/);
    expect(code).toBe(0);
    const lines = metrics("thinker");
    for (const at of [0, 5, 10])
      for (const name of ["valLoss", "accuracy", "sampledAccuracy", "template"])
        expect(typeof lines[at][name]).toBe("number");
    expect(readFileSync(join(home, "thinker/samples.md"), "utf8")).toContain("0+0?");
    const stopped = await interrupted(flags("stopped-thinker"), "stopped-thinker", 5, "SIGINT", "reason.ts");
    expect(stopped.text).toMatch(/go on after step \d+: {2}bun recipes\/reason\.ts --resume/);
    expect((await recipe("reason.ts", ["--resume", join(home, "stopped-thinker")])).code).toBe(0);
    expect(curve("stopped-thinker")).toEqual(curve("thinker"));
    expect(bytesOf("stopped-thinker", "model.safetensors")).toBe(bytesOf("thinker", "model.safetensors"));
  },
  LONG,
);

test(
  "the tags' weight changes the loss, not the validation loss, and stays with the run",
  async () => {
    const { code } = await recipe("reason.ts", flags("light", "--reason.tagWeight", "1", "--train.steps", "1"));
    expect(code).toBe(0);
    const [light, heavy] = [metrics("light"), metrics("thinker")];
    expect(light[0].valLoss).toBe(heavy[0].valLoss);
    expect(light[1].loss as number).toBeLessThan(heavy[1].loss as number);
    const resumed = await recipe("reason.ts", ["--resume", join(home, "light"), "--reason.tagWeight", "2"]);
    expect(resumed.text).toMatch(/--reason\.tagWeight/);
    expect(resumed.code).not.toBe(0);
  },
  LONG,
);
