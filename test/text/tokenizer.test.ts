import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type { JsonObject } from "../../framework/text/json.ts";
import { defaultSpecialTokens } from "../../framework/text/special.ts";
import { loadTokenizer, Tokenizer } from "../../framework/text/tokenizer.ts";
import { anyText, both, oddTexts, readJson, shared, trainSmall, withParts } from "./oracle.ts";

const small = await trainSmall();
const folder = mkdtempSync(join(tmpdir(), "micromind-tokenizer-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const minimind = shared("reference/minimind-tokenizer");
if (minimind === undefined) console.warn("skipped: ../shared/reference/minimind-tokenizer is absent");

const added = (content: string, id: number, more: JsonObject = {}): JsonObject => ({
  ...{ id, content, special: false, lstrip: false, rstrip: false, single_word: false, normalized: false },
  ...more,
});
const split = (Regex: string, more: JsonObject = {}): JsonObject => ({
  ...{ type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false },
  ...more,
});
const byteLevel = (more: JsonObject = {}): JsonObject => ({
  ...{ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false },
  ...more,
});
const sequence = (...pretokenizers: JsonObject[]): JsonObject => ({
  pre_tokenizer: { type: "Sequence", pretokenizers },
});
const qwen = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const llama = qwen.replace(String.raw`\p{N}|`, String.raw`\p{N}{1,3}|`);
const deepSeek = String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_${"`"}{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const tiktoken = String.raw`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s`;
const bos = { id: "<|im_start|>", type_id: 0 };

/** What tokenizer files in the field are made of, over our small vocabulary. */
const kinds: Record<string, JsonObject> = {
  "our own": small.toJSON(),
  "GPT-2 with add_prefix_space": withParts(small, {
    pre_tokenizer: byteLevel({ add_prefix_space: true, use_regex: true }),
  }),
  "ByteLevel without its regex": withParts(small, { pre_tokenizer: byteLevel() }),
  "Qwen's Split and NFC": withParts(small, { ...sequence(split(qwen), byteLevel()), normalizer: { type: "NFC" } }),
  "Llama 3's Split with ignore_merges and a template": withParts(
    small,
    {
      ...sequence(split(llama), byteLevel()),
      post_processor: {
        type: "Sequence",
        processors: [
          byteLevel(),
          {
            type: "TemplateProcessing",
            single: [
              { SpecialToken: bos },
              { Sequence: { id: "A", type_id: 0 } },
              { SpecialToken: { id: "<|im_end|>", type_id: 0 } },
            ],
            pair: [],
            special_tokens: {
              "<|im_start|>": { id: "<|im_start|>", ids: [1], tokens: ["<|im_start|>"] },
              "<|im_end|>": { id: "<|im_end|>", ids: [2], tokens: ["<|im_end|>"] },
            },
          },
        ],
      },
    },
    { ignore_merges: true },
  ),
  "DeepSeek's three Splits": withParts(
    small,
    sequence(split(String.raw`\p{N}{1,3}`), split("[一-龥぀-ゟ゠-ヿ]+"), split(deepSeek), byteLevel()),
  ),
  "tiktoken's possessive Split, removed and inverted": withParts(
    small,
    sequence(split(tiktoken, { behavior: "Removed", invert: true }), byteLevel()),
  ),
  "a Split that leaves its matches out": withParts(
    small,
    sequence(split(String.raw`\s+`, { behavior: "Removed" }), byteLevel()),
  ),
  "a Split by a string": withParts(small, sequence({ ...split(""), pattern: { String: "a|b." } }, byteLevel())),
  "Digits and GPT-2": withParts(
    small,
    sequence({ type: "Digits", individual_digits: true }, byteLevel({ use_regex: true })),
  ),
  "merges as pairs": withParts(
    small,
    {},
    {
      merges: ((small.toJSON().model as JsonObject).merges as string[]).map((merge) => merge.split(" ")),
    },
  ),
  "tokens that strip space": withParts(small, {
    added_tokens: [
      ...(small.toJSON().added_tokens as JsonObject[]),
      added("<mask>", 700, { lstrip: true }),
      added("fox", 701, { rstrip: true, special: true }),
      added("naïve", 702, { normalized: true }),
    ],
    normalizer: { type: "Sequence", normalizers: [{ type: "NFC" }] },
  }),
  "a vocabulary without some bytes": withParts(small, {}, withoutBytes(["!", "Ġ", "ä"])),
  "a vocabulary without some bytes, with unk": withParts(
    small,
    {},
    { ...withoutBytes(["!", "ä"]), unk_token: "<|endoftext|>" },
  ),
};

function withoutBytes(chars: string[]): JsonObject {
  const model = structuredClone(small.toJSON().model) as { vocab: Record<string, number>; merges: string[] };
  const lacks = (token: string): boolean => chars.some((char) => token.includes(char));
  return {
    vocab: Object.fromEntries(Object.entries(model.vocab).filter(([token, id]) => id < 11 || !lacks(token))),
    merges: model.merges.filter((merge) => !lacks(merge)),
  };
}

const extra = ["a <mask> b  <mask>\n", "the  fox  \n runs", " 'S x'LL 12345 １２３", "naïve nai\u0308ve", "a|b.a|b"];

for (const [name, json] of Object.entries(kinds)) {
  describe(`A tokenizer with ${name}`, () => {
    const { ours, oracle } = both(json);

    test("encodes odd texts as @huggingface/tokenizers does", () => {
      for (const text of [...oddTexts, ...extra]) expect(ours.encode(text)).toEqual(oracle.encode(text).ids);
    });

    test("encodes any text as @huggingface/tokenizers does", () => {
      fc.assert(
        fc.property(anyText, (text) => expect(ours.encode(text)).toEqual(oracle.encode(text).ids)),
        { numRuns: 150 },
      );
    });
  });
}

describe.skipIf(minimind === undefined)("MiniMind's tokenizer", () => {
  const { ours, oracle } =
    minimind === undefined
      ? both(small.toJSON())
      : both(readJson(join(minimind, "tokenizer.json")), readJson(join(minimind, "tokenizer_config.json")));
  const plain = { clean_up_tokenization_spaces: false };

  test("encodes odd texts as @huggingface/tokenizers does", () => {
    for (const text of oddTexts) expect(ours.encode(text)).toEqual(oracle.encode(text).ids);
  });

  test("encodes any text as @huggingface/tokenizers does", () => {
    fc.assert(
      fc.property(anyText, (text) => expect(ours.encode(text)).toEqual(oracle.encode(text).ids)),
      { numRuns: 500 },
    );
  });

  test("decodes any ids as @huggingface/tokenizers does", () => {
    const ids = fc.array(fc.integer({ min: 0, max: ours.vocabSize - 1 }), { minLength: 1 });
    fc.assert(
      fc.property(ids, (some) => {
        expect(ours.decode(some)).toBe(oracle.decode(some, plain));
        const skip = { ...plain, skip_special_tokens: true };
        expect(ours.decode(some, { skipSpecialTokens: true })).toBe(oracle.decode(some, skip));
      }),
    );
  });

  test("encodes real texts as @huggingface/tokenizers does and gives them back", () => {
    for (const name of ["pretrain_zh.jsonl", "toolcall_zh.jsonl", "tinyshakespeare.txt"]) {
      const file = shared(`data/${name}`);
      if (file === undefined) continue;
      const text = readFileSync(file, "utf8").slice(0, 40_000);
      const ids = ours.encode(text);
      expect(ids).toEqual(oracle.encode(text).ids);
      expect(ours.decode(ids)).toBe(text);
    }
  });

  test("has its roles and its chat template untouched", () => {
    expect([ours.bosToken, ours.eosToken, ours.padToken, ours.unkToken]).toEqual([
      "<|im_start|>",
      "<|im_end|>",
      "<|endoftext|>",
      "<|endoftext|>",
    ]);
    expect([ours.bosTokenId, ours.eosTokenId, ours.padTokenId, ours.unkTokenId]).toEqual([1, 2, 0, 0]);
    expect(ours.vocabSize).toBe(6400);
    expect(ours.chatTemplate).toBe(readJson(join(minimind!, "tokenizer_config.json")).chat_template as string);
  });

  test("is written back as it was read", () => {
    loadTokenizer(minimind!).save(join(folder, "minimind"));
    for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
      expect(readJson(join(folder, "minimind", file))).toEqual(readJson(join(minimind!, file)));
    }
  });
});

test("Every string without lone surrogates comes back from decode(encode(x))", () => {
  fc.assert(
    fc.property(anyText, (text) => expect(small.decode(small.encode(text))).toBe(text.toWellFormed())),
    { numRuns: 500 },
  );
});

test("A stream of ids decodes to the same text as all of them together", () => {
  const ids = fc.array(fc.integer({ min: 0, max: small.vocabSize - 1 }));
  fc.assert(
    fc.property(ids, (some) => {
      const stream = small.decodeStream();
      expect(some.map((id) => stream.push(id)).join("") + stream.end()).toBe(small.decode(some));
    }),
    { numRuns: 500 },
  );
});

test("A stream holds the bytes of a character back until it is whole", () => {
  const ids = ["ð", "Ł", "Ļ", "Ĥ"].map((byte) => small.tokenToId(byte)!); // 🙂
  const stream = small.decodeStream();
  expect(ids.map((id) => stream.push(id))).toEqual(["", "", "", "🙂"]);
  expect(stream.push(ids[0]!) + stream.end()).toBe("\ufffd");
});

test("encodeIds gives the ids of encode in an array of its own", () => {
  const first = small.encodeIds("The quick brown fox");
  small.encodeIds("something else altogether");
  expect([...first]).toEqual(small.encode("The quick brown fox"));
  expect(first.buffer.byteLength).toBe(first.byteLength);
});

test("Special tokens in the text are plain text where allowSpecial is false, tags stay tags", () => {
  const text = "<|im_end|><think>";
  expect(small.encode(text)).toEqual([2, small.tokenToId("<think>")!]);
  const ids = small.encode(text, { allowSpecial: false });
  expect(ids).not.toContain(2);
  expect(ids.at(-1)).toBe(small.tokenToId("<think>")!);
  expect(small.decode(ids)).toBe(text);
});

test("addSpecialTokens: false leaves the template's tokens out", () => {
  const { ours } = both(kinds["Llama 3's Split with ignore_merges and a template"]!);
  const bare = ours.encode("fox", { addSpecialTokens: false });
  expect(ours.encode("fox")).toEqual([1, ...bare, 2]);
});

test("A single_word token matches only between other characters than letters, digits and underscores", () => {
  const json = withParts(small, {
    added_tokens: [...(small.toJSON().added_tokens as JsonObject[]), added("cat", 700, { single_word: true })],
  });
  const { ours } = both(json);
  const matches = (text: string): number => ours.encode(text).filter((id) => id === 700).length;
  expect(["cat", "a cat.", "猫 cat", "cat\ncat"].map(matches)).toEqual([1, 1, 1, 2]);
  expect(["cats", "concat", "_cat", "cat9", "𝒳cat"].map(matches)).toEqual([0, 0, 0, 0, 0]);
});

test("The default special tokens have the first ids and their roles", () => {
  expect(defaultSpecialTokens.map(({ content }) => small.tokenToId(content)!)).toEqual([
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
  ]);
  expect([small.padTokenId, small.unkTokenId, small.bosTokenId, small.eosTokenId]).toEqual([0, 0, 1, 2]);
  expect(small.decode([1, 3, 2], { skipSpecialTokens: true })).toBe("<think>");
});

test("A saved tokenizer loads as the same one, from its folder and from its file", () => {
  small.save(join(folder, "small"));
  for (const path of [join(folder, "small"), join(folder, "small", "tokenizer.json")]) {
    const loaded = loadTokenizer(path);
    expect(loaded.hash()).toBe(small.hash());
    expect(loaded.toJSON()).toEqual(small.toJSON());
    expect(loaded.eosTokenId).toBe(2);
    expect(loaded.chatTemplate).toBe(small.chatTemplate!);
    for (const text of oddTexts) expect(loaded.encode(text)).toEqual(small.encode(text));
  }
});

test("A save that fails names the file and keeps what was there", () => {
  const dir = join(folder, "kept");
  small.save(dir);
  rmSync(join(dir, "tokenizer_config.json"));
  mkdirSync(join(dir, "tokenizer_config.json"));
  expect(() => small.save(dir)).toThrow(`${join(dir, "tokenizer_config.json")}: could not be saved`);
  expect(readJson(join(dir, "tokenizer.json"))).toEqual(small.toJSON());
  writeFileSync(join(folder, "a-file"), "");
  expect(() => small.save(join(folder, "a-file"))).toThrow(
    `${join(folder, "a-file", "tokenizer.json")}: could not be saved`,
  );
});

test("The hash changes with anything that changes ids, and not with the spelling of merges", () => {
  const hashOf = (json: JsonObject, config: JsonObject = {}): string => new Tokenizer(json, config).hash();
  const plain = hashOf(small.toJSON());
  expect(hashOf(kinds["merges as pairs"]!)).toBe(plain);
  const others = [
    "GPT-2 with add_prefix_space",
    "Qwen's Split and NFC",
    "tokens that strip space",
    "a vocabulary without some bytes",
  ];
  const hashes = [
    plain,
    hashOf(small.toJSON(), { eos_token: "<|im_end|>" }),
    ...others.map((name) => hashOf(kinds[name]!)),
  ];
  expect(new Set(hashes).size).toBe(hashes.length);
});

test("Ids without a token decode to nothing, and what is no id is refused", () => {
  expect(small.decode([small.vocabSize + 5, 1])).toBe("<|im_start|>");
  expect(() => small.decode([-1])).toThrow("decode: -1 is no token id");
  expect(() => small.decode([1.5])).toThrow("decode: 1.5 is no token id");
  expect(() => small.encode(undefined as unknown as string)).toThrow("encode: the text is missing, expected a string");
});
