import { describe, expect, test } from "bun:test";
import { gzipSync } from "node:zlib";
import { stepBatches } from "../../framework/data/ahead.ts";
import { type Batch, openBatches, tokenBytes } from "../../framework/data/batches.ts";
import { encodeConversation, parseConversation } from "../../framework/data/conversations.ts";
import type { Shards } from "../../framework/data/shards.ts";
import { type TokenizeOptions, tokenizeDataset } from "../../framework/data/tokenize.ts";
import { loadTokenizer } from "../../framework/text/tokenizer.ts";
import { shared } from "../text/oracle.ts";
import { file, home, lines, tokenizer, withTemplate } from "./support.ts";

const user = (content: string) => ({ role: "user" as const, content });
const assistant = (content: string) => ({ role: "assistant" as const, content });
const parse = (value: unknown) => parseConversation(value, "x.jsonl:3");

const talk = (i: number) => ({
  conversations: [user(`question ${i}?`), assistant(`reply 你好 🚀 ${"x".repeat(i % 9)}`)],
});
const dataset = (path: string, options: TokenizeOptions = {}) =>
  tokenizeDataset(path, tokenizer, { cache: `${home}/cache`, stage: "conversations", ...options });
const documentOf = (shards: Shards, i: number) => {
  const [ids, trained] = [new Int32Array(shards.lengths[i]), new Uint8Array(shards.lengths[i])];
  shards.read(i, 0, ids);
  shards.readTrained(i, 0, trained);
  return { ids, trained };
};
const trainedText = (shards: Shards, i: number) => {
  const { ids, trained } = documentOf(shards, i);
  return tokenizer.decode(ids.filter((_, at) => trained[at]));
};

describe("shards of conversations", () => {
  const path = file("talks.jsonl", lines(...Array.from({ length: 40 }, (_, i) => talk(i))));
  test("keep which tokens are the assistant's, whatever the number of workers", async () => {
    const dumps = await Promise.all(
      [0, 1, 2].map(async (workers) => {
        const shards = await dataset(path, { workers, cache: `${home}/cache-${workers}` });
        const all = Array.from(shards.lengths.keys(), (i) => documentOf(shards, i));
        shards.close();
        return all;
      }),
    );
    const expected = Array.from({ length: 40 }, (_, i) => encodeConversation(tokenizer, parse(talk(i)).conversation));
    for (const dump of dumps) expect(dump).toEqual(expected);
  });
  test("say the formats that were found", async () => {
    const both = file("both.jsonl", lines(talk(1), { instruction: "a", output: "b" }, talk(2)));
    const shards = await dataset(both);
    expect(shards.info).toMatchObject({
      stage: "conversations",
      format: "conversations (2), alpaca (1)",
      documents: 3,
    });
    shards.close();
    const one = await dataset(path);
    expect(one.info.format).toBe("conversations");
    one.close();
  });
  test("are made anew for another template, length or way to truncate", async () => {
    const keys = new Set<string>();
    const other = await withTemplate((tokenizer.chatTemplate as string).replaceAll("user", "User"));
    for (const [used, options] of [
      [tokenizer, {}],
      [tokenizer, { maxLength: 30 }],
      [tokenizer, { maxLength: 30, truncate: "start" }],
      [other, {}],
    ] as const) {
      const shards = await tokenizeDataset(path, used, { cache: `${home}/cache`, stage: "conversations", ...options });
      keys.add(shards.key);
      shards.close();
    }
    expect(keys.size).toBe(4);
  });
  test("count what is truncated and what has nothing to train on", async () => {
    const long = { conversations: [user("a ".repeat(90)), assistant("b")] };
    const mute = { conversations: [user("nobody answers")] };
    const wordy = { conversations: [user("a"), assistant("word ".repeat(90))] };
    const mixed = file("mixed.jsonl", lines(talk(1), long, mute, wordy));
    const shards = await dataset(mixed, { maxLength: 50 });
    expect(shards.info).toMatchObject({ documents: 2, truncated: 2, untrained: 2, skipped: 0, maxLength: 50 });
    expect([...shards.lengths].every((length) => length <= 50)).toBe(true);
    shards.close();
    expect(dataset(file("mute.jsonl", lines(mute, mute)))).rejects.toThrow(
      "mute.jsonl: none of 2 conversations has a token of the assistant's to train on",
    );
  });
  test("truncated at the start keep the system message and the last exchanges", async () => {
    const turns = [1, 2, 3, 4].flatMap((i) => [user(`question ${i}`), assistant(`reply ${i}`)]);
    const path = file("turns.jsonl", lines({ conversations: [{ role: "system", content: "brief" }, ...turns] }));
    const whole = await dataset(path);
    const maxLength = whole.lengths[0] - 1;
    const [start, end] = [
      await dataset(path, { maxLength, truncate: "start" }),
      await dataset(path, { maxLength, truncate: "end" }),
    ];
    expect(tokenizer.decode(documentOf(start, 0).ids)).toBe(
      tokenizer
        .decode(documentOf(whole, 0).ids)
        .replace(/<\|im_start\|>user\nquestion 1[\s\S]*?reply 1<\|im_end\|>\n/, ""),
    );
    expect(trainedText(end, 0)).toStartWith("reply 1<|im_end|>");
    expect([start.info.truncated, end.info.truncated, end.lengths[0]]).toEqual([1, 1, maxLength]);
    for (const shards of [whole, start, end]) shards.close();
  });
  test("of bad lines name the line, or leave it out and count it", async () => {
    const content = `${lines(talk(1))}broken\r\n\n${lines({ conversations: [{ role: "bot", content: "" }] }, talk(2))}`;
    for (const [name, bytes] of [
      ["bad.jsonl", `\uFEFF${content}`],
      ["bad.jsonl.gz", gzipSync(content)],
    ] as const)
      for (const workers of [0, 1]) {
        const path = file(name, bytes);
        expect(dataset(path, { workers, cache: `${home}/strict` })).rejects.toThrow(`${name}:2: not JSON`);
        const shards = await dataset(path, { workers, onError: "skip", cache: `${home}/skip-${workers}` });
        expect([shards.info.documents, shards.info.skipped]).toEqual([2, 2]);
        expect(shards.info.skippedExamples[1]).toContain(`${name}:4: message 1: the role is "bot"`);
        shards.close();
      }
    expect(dataset(file("all.jsonl", "x\ny\n"), { onError: "skip" })).rejects.toThrow(
      /all\.jsonl: every line is bad, such as .*all\.jsonl:1: not JSON/,
    );
  });
  test("of plain text, of nothing, and of a template that refuses are errors", async () => {
    expect(dataset(file("x.txt", "words"))).rejects.toThrow("x.txt: is plain text, for recipes/pretrain.ts");
    expect(dataset(file("x.jsonl", "\n\n"))).rejects.toThrow("x.jsonl: holds no documents");
    const strict = await withTemplate(
      `{%- if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}${tokenizer.chatTemplate}`,
    );
    const path = file("refused.jsonl", lines(talk(1), { conversations: [{ role: "system", content: "a" }] }));
    expect(tokenizeDataset(path, strict, { cache: `${home}/cache`, stage: "conversations" })).rejects.toThrow(
      "refused.jsonl:2: chat template: no system",
    );
  });
  test("survive a line of megabytes", async () => {
    const path = file(
      "long.jsonl",
      lines(talk(1), { conversations: [user("长".repeat(500_000)), assistant("b")] }, talk(2)),
    );
    const shards = await dataset(path, { maxLength: 64 });
    expect(shards.info).toMatchObject({ documents: 2, truncated: 1, untrained: 1 });
    shards.close();
  });
});

describe("batches of conversations", async () => {
  const path = file("batches.jsonl", lines(...Array.from({ length: 50 }, (_, i) => talk(i))));
  const shards = await dataset(path, { maxLength: 96 });
  const common = { batchSize: 2, seqLen: 96, pad: 0, heldOut: 0, tokenBytes: tokenBytes(tokenizer) };
  const rowsOf = (batch: Batch) =>
    Array.from({ length: common.batchSize }, (_, r) => {
      const cut = (array: Int32Array) => [...array.subarray(r * 96, (r + 1) * 96)];
      return {
        tokens: cut(batch.tokens),
        labels: cut(batch.labels),
        segments: cut(batch.segments),
        positions: cut(batch.positions),
      };
    });

  test("hold whole conversations, each once an epoch, labelled where the assistant speaks", () => {
    const batches = openBatches(shards, { ...common, batchSize: 1 });
    const whole = Array.from(shards.lengths.keys(), (i) => documentOf(shards, i));
    for (const epoch of [0, 1]) {
      const seen: string[] = [];
      for (let n = 0; n < batches.perEpoch; n++) {
        const { tokens, labels, segments, positions } = batches.at(epoch * batches.perEpoch + n);
        for (let from = 0; from < 96; ) {
          let to = from;
          while (to < 96 && segments[to] === segments[from]) expect(positions[to]).toBe(to++ - from);
          if (tokens[from] !== 0) {
            const ids = [...tokens.subarray(from, to)];
            const source = whole.find((d) => d.ids.join() === ids.join());
            expect(source).toBeDefined();
            expect([...labels.subarray(from, to - 1)]).toEqual(
              ids.slice(1).map((id, i) => (source?.trained[i + 1] ? id : -100)),
            );
            expect(labels[to - 1]).toBe(-100);
            seen.push(ids.join());
          } else expect(labels.subarray(from, to).every((label) => label === -100)).toBe(true);
          from = to;
        }
      }
      expect(seen.sort()).toEqual(whole.map((d) => d.ids.join()).sort());
    }
    expect(batches.at(0)).not.toEqual(batches.at(batches.perEpoch));
  });
  test("fill their rows well and count what they teach", () => {
    const batches = openBatches(shards, common);
    expect(batches.perEpoch * common.batchSize * 96).toBeLessThan(shards.tokens * 1.3);
    const { labels, labelled, bytes } = batches.at(0);
    expect(labelled).toBe(labels.filter((label) => label !== -100).length);
    expect(bytes).toBe(
      Buffer.byteLength(
        tokenizer.decode(
          labels.filter((l) => l !== -100),
          { skipSpecialTokens: true },
        ),
      ),
    );
  });
  test("can be had from any place, by a thread too", async () => {
    const batches = openBatches(shards, { ...common, seed: 3 });
    const done = batches.perEpoch - 1;
    const steps = stepBatches(shards, { ...common, seed: 3 }, { done });
    for (let n = done; n < done + 3; n++) {
      const [batch] = (await steps.next()).value as Batch[];
      expect(batch).toEqual(openBatches(shards, { ...common, seed: 3 }).at(n));
    }
    await steps.return(undefined);
  });
  test("without packing have a row for each", () => {
    const batches = openBatches(shards, { ...common, packing: false });
    expect(batches.perEpoch).toBe(25);
    const [row] = rowsOf(batches.at(0));
    expect(tokenizer.decode(row.labels.filter((label) => label !== -100))).toMatch(/^reply 你好 🚀 x*<\|im_end\|>$/);
  });
  test("refuse rows shorter than the conversations may be", () => {
    expect(() => openBatches(shards, { ...common, seqLen: 64 })).toThrow(
      "openBatches: conversations of up to 96 tokens do not fit rows of 64; tokenize them with maxLength 64",
    );
  });
});

const reference = shared("reference/minimind-tokenizer");
const minimind = reference === undefined ? tokenizer : loadTokenizer(reference);
test.skipIf(reference === undefined).each([
  ["sft_zh.jsonl", 1000, 0],
  ["toolcall_zh.jsonl", 300, 0],
  ["identity_en.jsonl", 91, 0],
])("MiniMind's %s is read as it is (skipped where ../shared is absent)", async (name, documents, untrained) => {
  const path = shared(`data/${name}`) as string;
  const shards = await tokenizeDataset(path, minimind, { cache: `${home}/cache`, stage: "conversations" });
  expect(shards.info).toMatchObject({ documents, untrained, truncated: 0, skipped: 0, format: "conversations" });
  const { ids, trained } = documentOf(shards, 0);
  const own = minimind.decode(ids.filter((_, i) => trained[i]));
  expect(own).toStartWith("<think>\n\n</think>\n\n");
  expect(own).toEndWith("<|im_end|>");
  shards.close();
});
