import { describe, expect, test } from "bun:test";
import { parsePreference } from "../../framework/data/pairs.ts";
import { openPreferences, type PreferenceOptions } from "../../framework/data/preferences.ts";
import { loadTokenizer } from "../../framework/text/tokenizer.ts";
import { shared } from "../text/oracle.ts";
import { file, home, lines, tokenizer } from "./support.ts";

const user = (content: string) => ({ role: "user" as const, content });
const assistant = (content: string) => ({ role: "assistant" as const, content });
const parse = (value: Record<string, unknown>) => parsePreference(value, "x.jsonl:3");
const pair = (i: number, more = "") => ({
  chosen: [user(`question ${i}?${more}`), assistant(`good ${i}`)],
  rejected: [user(`question ${i}?${more}`), assistant(`bad, and longer ${i}`)],
});
const open = (path: string, options: Partial<PreferenceOptions> = {}) =>
  openPreferences(path, tokenizer, { batchSize: 4, seqLen: 64, cache: `${home}/cache`, ...options });

describe("a pair is read from", () => {
  const expected = {
    chosen: { messages: [user("q"), assistant("a")], tools: [] },
    rejected: { messages: [user("q"), assistant("b")], tools: [] },
  };
  const human = { from: "human", value: "q" };
  test.each<[string, Record<string, unknown>]>([
    ["lists", { chosen: expected.chosen.messages, rejected: expected.rejected.messages }],
    ["a prompt and strings", { prompt: "q", chosen: "a", rejected: "b" }],
    ["messages and replies", { prompt: [user("q")], chosen: [assistant("a")], rejected: [assistant("b")] }],
    [
      "a prompt and whole lists",
      { prompt: "q", chosen: expected.chosen.messages, rejected: expected.rejected.messages },
    ],
    [
      "ShareGPT's lists",
      { chosen: [human, { from: "gpt", value: "a" }], rejected: [human, { from: "gpt", value: "b" }] },
    ],
    [
      "ShareGPT's conversations and replies",
      { conversations: [human], chosen: { from: "gpt", value: "a" }, rejected: { from: "gpt", value: "b" } },
    ],
  ])("%s", (_, value) => {
    expect(parse(value)).toEqual(expected);
  });
});

describe("what is no pair is named with file and line:", () => {
  test.each<[string, Record<string, unknown>, string]>([
    [
      "conversations",
      { conversations: [user("a")] },
      "x.jsonl:3: holds conversations, for recipes/sft.ts; recipes/dpo.ts reads",
    ],
    ["text", { text: "a" }, "x.jsonl:3: holds text to pretrain on, for recipes/pretrain.ts"],
    ["one side", { chosen: [user("a")] }, 'x.jsonl:3: found no "rejected" among its keys (chosen)'],
    [
      "prompts that differ",
      { chosen: [user("q"), assistant("a")], rejected: [user("r"), assistant("b")] },
      'x.jsonl:3: the prompts differ at message 1: chosen has user: "q", rejected user: "r"',
    ],
    [
      "prompts of two lengths",
      { chosen: [user("q"), assistant("a")], rejected: [user("q"), assistant("a"), user("r"), assistant("b")] },
      'x.jsonl:3: the prompts differ at message 2: chosen has nothing more, rejected assistant: "a"',
    ],
    [
      "no reply",
      { chosen: [user("q")], rejected: [user("q")] },
      "chosen ends with a message of user, expected the assistant's",
    ],
    ["no prompt", { chosen: "a", rejected: "b" }, "x.jsonl:3: chosen is a reply without a prompt"],
    ["an empty list", { chosen: [], rejected: [] }, "x.jsonl:3: chosen: the conversation is empty"],
    [
      "an unknown role",
      { chosen: [user("q"), { role: "bot", content: "a" }], rejected: [] },
      'x.jsonl:3: chosen: message 2: the role is "bot"',
    ],
  ])("%s", (_, value, message) => {
    expect(() => parse(value)).toThrow(message);
  });
});

describe("batches of pairs", () => {
  const path = file("pairs.jsonl", lines(...Array.from({ length: 10 }, (_, i) => pair(i))));
  /** What a row is trained on, and the whole of it. */
  const rows = ({ tokens, labels }: { tokens: Int32Array; labels: Int32Array }, seqLen = 64) =>
    Array.from({ length: tokens.length / seqLen }, (_, row) => {
      const cut = (array: Int32Array) => array.subarray(row * seqLen, (row + 1) * seqLen);
      const text = tokenizer.decode(cut(tokens), { skipSpecialTokens: true });
      return { text, reply: tokenizer.decode(cut(labels).filter((label) => label !== -100)) };
    });

  test("hold the chosen rows, then the rejected, and label the replies alone", async () => {
    const preferences = await open(path);
    expect([preferences.pairs, preferences.perEpoch, preferences.truncated]).toEqual([10, 3, 0]);
    const batch = preferences.inOrder(1);
    expect([...batch.pairs]).toEqual([4, 5, 6, 7]);
    expect(rows(batch).map(({ reply }) => reply)).toEqual([
      ...[4, 5, 6, 7].map((i) => `good ${i}<|im_end|>`),
      ...[4, 5, 6, 7].map((i) => `bad, and longer ${i}<|im_end|>`),
    ]);
    expect(rows(batch)[0].text).toBe("user\nquestion 4?\nassistant\ngood 4\n");
    expect(batch.labelled).toBe(batch.labels.filter((label) => label !== -100).length);
    const [at] = [batch.labels.findIndex((label) => label !== -100)];
    expect(batch.tokens[at + 1]).toBe(batch.labels[at]);
    preferences.close();
  });
  test("in order end with empty rows, shuffled go on without end", async () => {
    const preferences = await open(path, { seed: 2 });
    const last = preferences.inOrder(2);
    expect([...last.pairs]).toEqual([8, 9, -1, -1]);
    expect(rows(last).map(({ reply }) => reply !== "")).toEqual([true, true, false, false, true, true, false, false]);
    const stream = Array.from({ length: 5 }, (_, n) => [...preferences.at(n).pairs]).flat();
    const all = Array.from({ length: 10 }, (_, i) => i);
    expect(stream.slice(0, 10).sort((a, b) => a - b)).toEqual(all);
    expect(stream.slice(10, 20).sort((a, b) => a - b)).toEqual(all);
    expect(stream.slice(0, 10)).not.toEqual(stream.slice(10, 20));
    expect(preferences.at(2)).toEqual((await open(path, { seed: 2 })).at(2));
    expect([...preferences.at(2).pairs]).not.toEqual([...(await open(path, { seed: 3 })).at(2).pairs]);
    preferences.close();
  });
  test("only the last of several replies is labelled", async () => {
    const past = [user("a"), assistant("b"), user("c")];
    const several = file(
      "several.jsonl",
      lines({ chosen: [...past, assistant("d")], rejected: [...past, assistant("e")] }),
    );
    const preferences = await open(several, { batchSize: 1 });
    expect(rows(preferences.at(0)).map(({ reply }) => reply)).toEqual(["d<|im_end|>", "e<|im_end|>"]);
    preferences.close();
  });
  test("that are too long lose the same beginning of the prompt, or their ends, and are counted", async () => {
    const long = file("long.jsonl", lines(pair(1, " why".repeat(60)), pair(2)));
    const start = await open(long, { batchSize: 1 });
    expect([start.pairs, start.truncated, start.info.untrained]).toEqual([2, 1, 0]);
    const [chosen, rejected] = rows(start.inOrder(0));
    expect([chosen.reply, rejected.reply]).toEqual(["good 1<|im_end|>", "bad, and longer 1<|im_end|>"]);
    expect(chosen.text.split("assistant")[0]).toBe(rejected.text.split("assistant")[0]);
    const end = await open(long, { batchSize: 1, truncate: "end" });
    expect([end.pairs, end.truncated, end.info.untrained]).toEqual([1, 1, 1]);
    const wordy = file("wordy.jsonl", lines({ prompt: "q ".repeat(80), chosen: "a ".repeat(80), rejected: "b" }));
    const both = await open(wordy, { batchSize: 1 });
    const [words, one] = rows(both.at(0));
    expect(words.reply).toStartWith("a a a");
    expect(one.reply).toBe("b<|im_end|>");
    for (const preferences of [start, end, both]) preferences.close();
  });
  test("of bad lines name the line, or leave it out", async () => {
    const bad = file("bad.jsonl", lines(pair(1), { ...pair(2), rejected: [user("other"), assistant("x")] }, pair(3)));
    expect(open(bad)).rejects.toThrow("bad.jsonl:2: the prompts differ at message 1");
    const preferences = await open(bad, { onError: "skip" });
    expect([preferences.pairs, preferences.info.skipped]).toEqual([2, 1]);
    preferences.close();
  });
});

const reference = shared("reference/minimind-tokenizer");
test.skipIf(reference === undefined)(
  "MiniMind's dpo_zh is read as it is (skipped where ../shared is absent)",
  async () => {
    const preferences = await openPreferences(
      shared("data/dpo_zh.jsonl") as string,
      loadTokenizer(reference as string),
      {
        batchSize: 4,
        seqLen: 512,
        cache: `${home}/cache`,
      },
    );
    expect(preferences.pairs).toBe(300);
    expect(preferences.info).toMatchObject({ untrained: 0, skipped: 0, format: "preferences" });
    for (let n = 0; n < 5; n++) expect(preferences.at(n).labelled).toBeGreaterThan(0);
    preferences.close();
  },
);
