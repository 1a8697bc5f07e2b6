import { beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bytesOf, curve, home, interrupted, metrics, recipe, small } from "./support.ts";

const LONG = 120_000;
const base = join(home, "sft-base");
const conversation = (i: number) => [
  { role: "user", content: `What comes after ${i}?` },
  { role: "assistant", content: `After ${i} comes ${i + 1}.` },
];
const jsonl = (rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const file = (name: string, rows: object[]) => {
  writeFileSync(join(home, name), jsonl(rows));
  return join(home, name);
};
const train = file(
  "sft.jsonl",
  Array.from({ length: 60 }, (_, i) => ({ conversations: conversation(i) })),
);
const held = file("sft.heldout.jsonl", [{ conversations: conversation(77) }, { conversations: conversation(78) }]);

/** Flags of a run of 12 steps from the tiny base. */
const sft = (dir: string, ...more: string[]): string[] => {
  const flags: Record<string, string | number> = {
    from: base,
    "data.path": train,
    "data.heldOut": held,
    "data.seqLen": 64,
    "train.steps": 12,
    "train.learningRate": 0.01,
    "train.warmup": 2,
    "eval.every": 6,
    "eval.tokens": 4,
    "eval.batches": 1,
    "sample.every": 0,
    "save.every": 4,
    "run.dir": join(home, dir),
  };
  return [...Object.entries(flags).flatMap(([key, value]) => [`--${key}`, String(value)]), ...more];
};

beforeAll(async () => {
  const { code, text } = await recipe("pretrain.ts", small("sft-base", "--train.steps", "2"));
  if (code !== 0) throw new Error(text);
}, LONG);

test(
  "a run goes from a base to a model that answers, with loss on replies alone, and takes over the base's settings",
  async () => {
    const { code, text } = await recipe("sft.ts", sft("sft-whole"));
    expect([code, text]).toEqual([0, expect.stringContaining("12 steps")]);
    expect(text).toContain("60 conversations (conversations)");
    const lines = metrics("sft-whole");
    expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: 13 }, (_, i) => i));
    for (const at of [0, 6, 12]) expect([typeof lines[at].valLoss, lines[at].exactMatch]).toEqual(["number", 0]);
    expect(lines[12].loss as number).toBeLessThan((lines[1].loss as number) - 0.5);
    expect(lines[1].tokens).toBe(2 * 64); // the base's batch size, the flag's length
    expect(readFileSync(join(home, "sft-whole/samples.md"), "utf8")).toContain("What comes after 77?");
    expect(existsSync(join(home, "sft-whole/tokenizer.json"))).toBe(true);
  },
  LONG,
);

test(
  "a run that was killed goes on bit for bit, even where its base is gone",
  async () => {
    await interrupted(sft("sft-killed"), "sft-killed", 6, "SIGKILL", "sft.ts");
    const { code } = await recipe("sft.ts", ["--resume", join(home, "sft-killed")]);
    expect(code).toBe(0);
    expect(curve("sft-killed")).toEqual(curve("sft-whole"));
    expect(bytesOf("sft-killed", "model.safetensors")).toBe(bytesOf("sft-whole", "model.safetensors"));
  },
  LONG,
);

test(
  "a run that was killed before its first model was written goes on from its state, and the base's tokenizer and sizes",
  async () => {
    await interrupted(sft("sft-early"), "sft-early", 6, "SIGKILL", "sft.ts");
    for (const name of ["config.json", "model.safetensors"]) rmSync(join(home, "sft-early", name));
    expect((await recipe("sft.ts", ["--resume", join(home, "sft-early")])).code).toBe(0);
    expect(curve("sft-early")).toEqual(curve("sft-whole"));
    expect(bytesOf("sft-early", "model.safetensors")).toBe(bytesOf("sft-whole", "model.safetensors"));
  },
  LONG,
);

const refusals: [string, string[], string][] = [
  ["a base that is not there", ["--from", "out/sft"], "make it with: bun recipes/sft.ts"],
  [
    "data of another stage",
    ["--data.path", file("texts.jsonl", [{ text: "a" }])],
    "texts.jsonl:1: holds text to pretrain on, for recipes/pretrain.ts",
  ],
  [
    "an unknown role",
    ["--data.path", file("roles.jsonl", [{ conversations: [{ role: "robot", content: "a" }] }])],
    "roles.jsonl:1",
  ],
  ["an empty conversation", ["--data.path", file("empty.jsonl", [{ conversations: [] }])], "empty.jsonl:1"],
  [
    "a held-out file without replies",
    ["--data.heldOut", file("noreply.jsonl", [{ conversations: [{ role: "user", content: "a" }] }])],
    "noreply.jsonl:1",
  ],
];
for (const [what, flags, message] of refusals)
  test(
    `${what} is refused, and nothing is written`,
    async () => {
      const dir = join(home, "sft-refused");
      const { code, text } = await recipe("sft.ts", sft("sft-refused", ...flags));
      expect([code !== 0, text]).toEqual([true, expect.stringContaining(message)]);
      expect(existsSync(join(dir, "model.safetensors"))).toBe(false);
    },
    LONG,
  );

test(
  "a base whose tokenizer does not fit its model is refused",
  async () => {
    const odd = join(home, "sft-odd");
    mkdirSync(odd, { recursive: true });
    for (const name of ["tokenizer.json", "tokenizer_config.json", "model.safetensors", "config.json"])
      writeFileSync(join(odd, name), readFileSync(join(base, name)));
    const json = JSON.parse(readFileSync(join(odd, "tokenizer.json"), "utf8")) as { added_tokens: object[] };
    json.added_tokens.push({
      id: 400,
      content: "<more>",
      special: true,
      lstrip: false,
      rstrip: false,
      single_word: false,
      normalized: false,
    });
    writeFileSync(join(odd, "tokenizer.json"), JSON.stringify(json));
    const { code, text } = await recipe("sft.ts", sft("sft-refused", "--from", odd));
    expect([code !== 0, text]).toEqual([true, expect.stringContaining("its tokenizer has 401 tokens, its model 320")]);
  },
  LONG,
);
