import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { GgufMeta } from "../../framework/checkpoint/gguf.ts";
import type { GgufValue } from "../../framework/checkpoint/ggufWrite.ts";
import { ggufTokenizer, tokenizerFromGguf } from "../../framework/text/gguf.ts";
import type { JsonObject } from "../../framework/text/json.ts";
import { loadTokenizer, Tokenizer, trainTokenizer } from "../../framework/text/tokenizer.ts";

const texts = ["The quick brown fox jumps over 12 lazy dogs.", "世界上最高的山峰是珠穆朗玛峰。\n\nIt's 8,849 m high."];
const tokenizer = await trainTokenizer(texts, { vocabSize: 300 });

/** Values as a reader gives them. */
const read = (values: ReadonlyMap<string, GgufValue>): Map<string, GgufMeta> =>
  new Map([...values].map(([key, [, value]]) => [key, value as GgufMeta]));

function expectSame(a: Tokenizer, b: Tokenizer): void {
  for (const text of [...texts, "<|im_start|>user\n<think>x</think>  y 12345<|im_end|>\n", "caf\u0065\u0301 🚀"]) {
    expect(b.encode(text)).toEqual(a.encode(text));
    expect(b.decode(b.encode(text), { skipSpecialTokens: true })).toBe(
      a.decode(a.encode(text), { skipSpecialTokens: true }),
    );
  }
  for (const role of ["bosToken", "eosToken", "padToken", "unkToken", "chatTemplate"] as const)
    expect(b[role]).toBe(a[role]);
}

test("A tokenizer survives GGUF's metadata: ids, special tokens, roles, template", () => {
  const values = ggufTokenizer(tokenizer, 320);
  expect(values.get("tokenizer.ggml.model")).toEqual(["string", "gpt2"]);
  expect(values.get("tokenizer.ggml.pre")).toEqual(["string", "gpt-2"]);
  const [, tokens] = values.get("tokenizer.ggml.tokens") as ["strings", string[]];
  const [, types] = values.get("tokenizer.ggml.token_type") as ["i32s", number[]];
  expect(tokens).toHaveLength(320);
  expect(tokens.slice(-1)).toEqual(["[PAD319]"]);
  expect([types[0], types[3], types[50], types[319]]).toEqual([3, 4, 1, 5]); // control, user-defined, normal, unused
  const back = tokenizerFromGguf(read(values), "x.gguf");
  expect(back.vocabSize).toBe(tokenizer.vocabSize);
  expectSame(tokenizer, back);
});

test("Ways of cutting text have llama.cpp's names, and come back", () => {
  const json = tokenizer.toJSON();
  const values = (pre_tokenizer: JsonObject, normalizer: JsonObject | null = null) =>
    ggufTokenizer(new Tokenizer({ ...json, pre_tokenizer, normalizer }), 300);
  const level = (use_regex: boolean) => ({ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex });
  const sequence = (...pretokenizers: JsonObject[]) => ({ type: "Sequence", pretokenizers });
  const split = (digits: string): JsonObject => ({
    type: "Split",
    pattern: {
      Regex: `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    },
    behavior: "Isolated",
    invert: false,
  });
  const cases: [string, JsonObject, JsonObject | null][] = [
    ["qwen2", sequence(split("\\p{N}"), level(false)), { type: "NFC" }],
    ["llama-bpe", sequence(split("\\p{N}{1,3}"), level(false)), null],
    ["smollm", sequence({ type: "Digits", individual_digits: true }, level(true)), null],
  ];
  for (const [name, pre, normalizer] of cases) {
    const written = values(pre, normalizer);
    expect(written.get("tokenizer.ggml.pre")).toEqual(["string", name]);
    const back = tokenizerFromGguf(read(written), "x.gguf");
    expect(back.encode("caf\u0065\u0301 12345 it's")).toEqual(
      new Tokenizer({
        ...json,
        pre_tokenizer: pre,
        normalizer,
        model: { ...(json.model as JsonObject), ignore_merges: name === "llama-bpe" },
      }).encode("caf\u0065\u0301 12345 it's"),
    );
  }
  expect(() => values(sequence({ type: "Digits", individual_digits: false }, level(true)))).toThrow(
    "llama.cpp has no name that is known here for its pre_tokenizer",
  );
});

test("Kinds of tokenizers that are not read are named", () => {
  const values = read(ggufTokenizer(tokenizer, 300));
  expect(() => tokenizerFromGguf(new Map([...values, ["tokenizer.ggml.model", "llama"]]), "x.gguf")).toThrow(
    'x.gguf: tokenizer.ggml.model is "llama", expected "gpt2"',
  );
  expect(() => tokenizerFromGguf(new Map([...values, ["tokenizer.ggml.pre", "tekken"]]), "x.gguf")).toThrow(
    "x.gguf: tokenizer.ggml.pre is tekken, which is not read",
  );
  expect(() => tokenizerFromGguf(new Map([...values, ["tokenizer.ggml.merges", ["a zzz"]]]), "x.gguf")).toThrow(
    'x.gguf: a merge names "zzz", which is no token',
  );
});

const miniMind = join(import.meta.dir, "../../../shared/reference/minimind-tokenizer");
test.skipIf(!existsSync(miniMind))("MiniMind's tokenizer survives", () => {
  const own = loadTokenizer(miniMind);
  expectSame(own, tokenizerFromGguf(read(ggufTokenizer(own, own.vocabSize)), "x.gguf"));
});
