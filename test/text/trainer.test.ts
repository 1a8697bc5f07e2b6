import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { byteToChar, spellBytes } from "../../framework/text/bytes.ts";
import type { JsonObject } from "../../framework/text/json.ts";
import { type Tokenizer, trainTokenizer } from "../../framework/text/tokenizer.ts";
import type { TrainProgress } from "../../framework/text/trainer.ts";
import { anyText, sentences, trainSmall } from "./oracle.ts";

const mergesOf = (tokenizer: Tokenizer): string[] => (tokenizer.toJSON().model as JsonObject).merges as string[];

const gpt2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/** BPE training as the textbook has it: count all pairs anew, merge the most frequent everywhere, repeat. */
function naiveMerges(texts: string[], count: number): string[] {
  const ids = new Map([...byteToChar].sort().map((char, id) => [char, id]));
  let words = texts
    .flatMap((text) => text.match(gpt2) ?? [])
    .map((word) => Array.from(spellBytes(new TextEncoder().encode(word))));
  const merges: string[] = [];
  while (merges.length < count) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const order = (pair: string): number[] => pair.split(" ").map((token) => ids.get(token)!);
    const best = [...counts].sort(
      ([a, m], [b, n]) => n - m || order(a)[0]! - order(b)[0]! || order(a)[1]! - order(b)[1]!,
    )[0];
    if (best === undefined || best[1] < 2) break;
    merges.push(best[0]);
    const token = best[0].replace(" ", "");
    if (!ids.has(token)) ids.set(token, ids.size);
    words = words.map((word) => mergeWord(word, best[0].split(" ") as [string, string]));
  }
  return merges;
}

function mergeWord(word: string[], [left, right]: [string, string]): string[] {
  const merged: string[] = [];
  for (let i = 0; i < word.length; i++) {
    if (word[i] === left && word[i + 1] === right) merged.push(left + word[++i]!);
    else merged.push(word[i]!);
  }
  return merged;
}

test("Training learns the merges of the textbook's algorithm", async () => {
  const texts = fc.array(fc.oneof(anyText, fc.string({ unit: fc.constantFrom("a", "b", "中", " "), maxLength: 80 })), {
    minLength: 1,
    maxLength: 8,
  });
  await fc.assert(
    fc.asyncProperty(texts, async (some) => {
      fc.pre(some.join("") !== "");
      const tokenizer = await trainTokenizer(some, { vocabSize: 256 + 40, specialTokens: [] });
      const merges = mergesOf(tokenizer);
      const stoppedEarly = tokenizer.vocabSize < 256 + 40;
      expect(merges).toEqual(naiveMerges(some, merges.length + (stoppedEarly ? 1 : 0)));
    }),
    { numRuns: 150 },
  );
});

test("Training learns the merges of Hugging Face's BpeTrainer", async () => {
  // tokenizers 0.23.2: BpeTrainer(vocab_size=600, min_frequency=2, initial_alphabet=ByteLevel.alphabet()) over
  // ByteLevel(add_prefix_space=False) and the same texts, cut at the special tokens.
  const merges = mergesOf(await trainSmall(600));
  expect(merges.length).toBe(333);
  expect(createHash("sha256").update(merges.join("\n")).digest("hex")).toBe(
    "031999d5152d4b9bb6a104694de3c8f343088214964b9d184ae443ae02fb488c",
  );
});

test("The same texts give the same tokenizer, from an array and from an asynchronous stream", async () => {
  async function* stream(): AsyncGenerator<string> {
    for (const text of sentences) yield text;
  }
  const [a, b] = [
    await trainTokenizer(sentences, { vocabSize: 400 }),
    await trainTokenizer(stream(), { vocabSize: 400 }),
  ];
  expect(b.toJSON()).toEqual(a.toJSON());
  expect(b.hash()).toBe(a.hash());
});

test("The spelling of special tokens teaches nothing", async () => {
  const texts = Array.from({ length: 50 }, (_, i) => `<|im_start|>${"abcdefgh"[i % 8]}<|im_end|>`);
  const tokenizer = await trainTokenizer(texts, { vocabSize: 300 });
  expect(mergesOf(tokenizer)).toEqual([]);
  expect(tokenizer.vocabSize).toBe(267);
});

test("No merge spells a special token, so plain text can never become one", async () => {
  const tokenizer = await trainTokenizer(
    ["xx yx xyx", "xyx yxy xyxy"].map((text) => text.repeat(20)),
    {
      vocabSize: 270,
      specialTokens: ["xy"],
    },
  );
  expect(mergesOf(tokenizer)).not.toContain("x y");
  expect(tokenizer.encode("xy", { allowSpecial: false })).not.toContain(0);
});

test("A text that is one endless word trains", async () => {
  const tokenizer = await trainTokenizer(["万有引力".repeat(50_000)], { vocabSize: 300 });
  expect(tokenizer.decode(tokenizer.encode("万有引力".repeat(9)))).toBe("万有引力".repeat(9));
  expect(tokenizer.encode("万有引力".repeat(64)).length).toBeLessThan(8);
});

test("Progress counts the bytes read and ends with all merges made", async () => {
  const seen: TrainProgress[] = [];
  await trainTokenizer(sentences, { vocabSize: 300, onProgress: (progress) => seen.push(progress) });
  expect(seen.find(({ stage }) => stage === "read")).toEqual({
    stage: "read",
    bytes: Buffer.byteLength(sentences.join("")),
  });
  expect(seen.at(-1)).toEqual({ stage: "merge", done: 33, total: 33 });
});

test("What cannot be trained on is refused with a reason", async () => {
  const train = (texts: unknown, options: Parameters<typeof trainTokenizer>[1]) =>
    trainTokenizer(texts as string[], options);
  await expect(train(["a"], { vocabSize: 100 })).rejects.toThrow(
    "vocabSize is 100, expected at least 267: 256 bytes and 11 special tokens",
  );
  await expect(train([], { vocabSize: 300 })).rejects.toThrow("trainTokenizer: the texts are empty");
  await expect(train(["", ""], { vocabSize: 300 })).rejects.toThrow("trainTokenizer: the texts are empty");
  await expect(train(["a", 7], { vocabSize: 300 })).rejects.toThrow(
    "trainTokenizer: a text is number, expected a string",
  );
  await expect(train(["a"], { vocabSize: 300, specialTokens: ["<s>", "<s>"] })).rejects.toThrow(
    'special token "<s>" is given twice',
  );
  await expect(train(["a"], { vocabSize: 300, specialTokens: [""] })).rejects.toThrow('special token "" is empty');
});
