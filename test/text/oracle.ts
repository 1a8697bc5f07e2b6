import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Tokenizer as Oracle } from "@huggingface/tokenizers";
import fc from "fast-check";
import type { JsonObject } from "../../framework/text/json.ts";
import { Tokenizer, trainTokenizer } from "../../framework/text/tokenizer.ts";

/** Material beside the repository that is not part of it; undefined where it is absent. */
export function shared(path: string): string | undefined {
  const full = join(import.meta.dirname, "../../../shared", path);
  return existsSync(full) ? full : undefined;
}

export const readJson = (file: string): JsonObject => JSON.parse(readFileSync(file, "utf8"));

export const sentences = [
  "The quick brown fox doesn't jump over the lazy dogs; they'll sleep, I'm sure, and we've 1234567 more.\n\n",
  "万有引力原理是任何两个物体之间都存在相互吸引的力，力的大小与质量的乘积成正比。世界上最高的山峰是珠穆朗玛峰！\n",
  "function add(a, b) {\r\n\tif (a === undefined) return b;\n    return a + b; // sum\n}\n\n\n",
  "二氧化碳在空气中的含量约为0.04%，它是植物进行光合作用的原料。人类大脑的主要功能是思考和记忆。",
  "Émile naïve café, Straße, Ελληνικά, русский текст, العربية, हिन्दी, 日本語のテキスト, 한국어 🙂👩‍👩‍👧‍👦🇫🇷\u00a0\u3000end  \t ",
  '<|im_start|>user\n你好<|im_end|>\n<think>\n嗯\n</think> <tool_call>{"name": "f"}</tool_call><|endoftext|>',
];

/** A small tokenizer that has seen the sentences often enough to have long merges. */
export const trainSmall = (vocabSize = 600): Promise<Tokenizer> =>
  trainTokenizer(Array.from({ length: 3 }, () => sentences).flat(), { vocabSize });

/** Our tokenizer and Hugging Face's for the same files. */
export function both(json: JsonObject, config: JsonObject = {}): { ours: Tokenizer; oracle: Oracle } {
  return { ours: new Tokenizer(json, config), oracle: new Oracle(json, config) };
}

/** The JSON of a tokenizer, some of its parts replaced. */
export function withParts(tokenizer: Tokenizer, parts: JsonObject, model: JsonObject = {}): JsonObject {
  const json = structuredClone(tokenizer.toJSON());
  return { ...json, ...parts, model: { ...(json.model as JsonObject), ...model } };
}

export const oddTexts = [
  ...sentences,
  "",
  " ",
  "\n",
  "\ufeffBOM \ufeff",
  "\ud800 lone \udc00\udc00 surrogates \ud83d",
  "nul \0 and \x7f\x80\x85\u2028\u2029",
  "a".repeat(3000),
  "万".repeat(1000),
  " ".repeat(500) + "x",
  "ab".repeat(700),
  "1".repeat(100),
  "'s't're 's 'S 'LL 'll it's''s",
  "👍🏽".repeat(60),
  "e\u0301 \u1100\u1161\u11a8 ﬁ Å",
  "<|im_start|><|im_end|><|im_<|endoftext|>|>",
];

const fragments = [
  ...sentences.flatMap((text) => text.split(/(?<=\s|，|。)/)),
  "'s",
  "'ll",
  "  ",
  "\n",
  "<|im_end|>",
  "<think>",
];

/** Any UTF-16 at all, and mixtures of familiar fragments with it. */
export const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.string({ unit: "grapheme", maxLength: 60 }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)),
  fc
    .array(fc.oneof(fc.constantFrom(...fragments), fc.string({ unit: "binary", maxLength: 3 })))
    .map((parts) => parts.join("")),
);
