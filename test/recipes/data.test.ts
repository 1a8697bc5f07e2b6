import { expect, test } from "bun:test";
import { file, home, lines, tokenizer } from "../data/support.ts";
import { recipe } from "./support.ts";

tokenizer.save(`${home}/tokenizer`);
const data = (...args: string[]) =>
  recipe("data.ts", [...args, "--tokenizer", `${home}/tokenizer`], { MICROMIND_CACHE: `${home}/cache` });

const talk = (question: string, reply: string) => ({
  conversations: [
    { role: "user", content: question },
    { role: "assistant", content: reply },
  ],
});
const talks = file(
  "talks.jsonl",
  lines(talk("hi", "你好 👩‍👩‍👧‍👦"), talk("q \u001b[31m", "a"), talk("why ".repeat(60), "b"), talk("c", "d")),
);
const pairs = file("pairs.jsonl", lines({ prompt: "q", chosen: "yes", rejected: "no" }));

test("--show prints samples with the trained tokens marked, and nothing that a terminal would act on", async () => {
  const { code, text } = await data("--show", "sft", "3", "--path", talks, "--seqLen", "64");
  expect(code).toBe(0);
  expect(text).toContain("user\nhi<|im_end|>\n<|im_start|>assistant\n⟦你好 👩‍👩‍👧‍👦<|im_end|>⟧\n");
  expect(text).toContain("q \\x1b[31m<|im_end|>");
  expect(text).toMatch(/talks\.jsonl:3: no trained token within 64 tokens, left out/);
  expect(text).not.toContain("talks.jsonl:4");
  expect(text).toContain("⟦ ⟧: trained on");
});

test("--show dpo prints both replies, --show pretrain what a shipped text is", async () => {
  const [dpo, pretrain] = await Promise.all([data("--show", "dpo", "--path", pairs), data("--show", "pretrain", "1")]);
  expect(dpo.text).toMatch(
    /pairs\.jsonl:1 chosen: \d+ tokens, \d+ trained on\n[\s\S]*⟦yes<\|im_end\|>⟧[\s\S]*rejected[\s\S]*⟦no<\|im_end\|>⟧/,
  );
  expect(pretrain.text).toMatch(/pretrain\.jsonl:1 \d+ tokens[\s\S]*<\|im_start\|>⟦[\s\S]*<\|im_end\|>⟧/);
});

test("the shipped corpus has samples for every recipe", async () => {
  for (const { code, text } of await Promise.all(
    ["sft", "lora", "dpo", "reason"].map((name) => data("--show", name, "1")),
  )) {
    expect(text).toMatch(/⟦[\s\S]+<\|im_end\|>⟧/);
    expect(code).toBe(0);
  }
});

test("--stats tells stage, format, lengths, truncation and tokens, and counts bad lines", async () => {
  const mixed = file(
    "mixed.jsonl",
    `broken\n${lines(talk("hi", "a"), talk("why ".repeat(60), "b"), { instruction: "c", output: "d ".repeat(60) })}`,
  );
  const [some, two] = await Promise.all([data("--stats", mixed, "--seqLen", "64"), data("--stats", pairs)]);
  expect(some.code).toBe(0);
  expect(some.text).toMatch(/stage +conversations, for recipes\/sft\.ts/);
  expect(some.text).toMatch(/format +conversations \(2\), alpaca \(1\)/);
  expect(some.text).toMatch(/over 64 +2 \(66\.7%\)/);
  expect(some.text).toMatch(/truncation +2 cut to 64, 1 of them left without a token to train on/);
  expect(some.text).toMatch(/bad lines +1, such as .*mixed\.jsonl:1: not JSON/);
  expect(some.text).toMatch(/8–15 +█+ +1\n/);
  expect(two.text).toMatch(/preferences +1 pairs/);
});

test("what is asked for wrongly is refused in words", async () => {
  const other = file("other.jsonl", lines({ title: "a" }));
  const asked: [string[], string, number][] = [
    [[], "expected either --show recipe or --stats path", 2],
    [["--show", "sft", "many"], '"many": expected one whole number', 2],
    [["--show", "sfd"], "did you mean sft?", 2],
    [["--show", "sft", "--path", pairs], "pairs.jsonl:1: holds preferences, for recipes/dpo.ts", 1],
    [["--stats", other], 'other.jsonl:1: found no "text" among its keys (title)', 1],
    [["--stats", "nowhere.jsonl"], "nowhere.jsonl: there is no such file or folder", 1],
  ];
  for (const [args, message, code] of asked) {
    const ran = await data(...args);
    expect(ran.text).toContain(message);
    expect(ran.code).toBe(code);
  }
  const bare = await recipe("data.ts", ["--stats", talks]);
  expect(bare.text).toContain("--tokenizer: there is none in out/sft or out/pretrain");
});
