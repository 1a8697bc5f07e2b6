import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Json, type JsonObject, TokenizerError } from "../../framework/text/json.ts";
import { loadTokenizer, Tokenizer } from "../../framework/text/tokenizer.ts";
import { trainSmall, withParts } from "./oracle.ts";

const small = await trainSmall(300);
const folder = mkdtempSync(join(tmpdir(), "micromind-format-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const inFolder = (name: string, files: Record<string, string>): string => {
  mkdirSync(join(folder, name), { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, name, file), content);
  return join(folder, name);
};

const token = (content: Json, id: Json, more: JsonObject = {}): JsonObject => ({
  id,
  content,
  special: false,
  ...more,
});
const vocab = (small.toJSON().model as JsonObject).vocab as JsonObject;
const split = (Regex: string, more: JsonObject = {}): JsonObject => ({
  pre_tokenizer: {
    type: "Sequence",
    pretokenizers: [{ type: "Split", pattern: { Regex }, behavior: "Isolated", ...more }, { type: "ByteLevel" }],
  },
});

/** Changed parts of a tokenizer.json, changed parts of its model, and what the error says. */
const refused: [parts: JsonObject, model: JsonObject, message: string][] = [
  [{ model: null }, {}, "model.vocab is missing, expected an object"],
  [{}, { type: "Unigram" }, 'model.type is "Unigram"; only byte-level "BPE" is supported'],
  [{}, { dropout: 0.1 }, "model.dropout is 0.1, which is not supported"],
  [{}, { end_of_word_suffix: "</w>" }, 'model.end_of_word_suffix is "</w>", which is not supported'],
  [{}, { byte_fallback: true }, "model.byte_fallback is true, which is not supported"],
  [{}, { fuse_unk: true }, "model.fuse_unk is true, which is not supported"],
  [{}, { unk_token: "<unk>" }, 'model.unk_token "<unk>" is no token'],
  [{}, { vocab: {} }, "model.vocab is empty"],
  [{}, { vocab: [] }, "model.vocab is [], expected an object"],
  [{}, { vocab: { ...vocab, x: -1 } }, 'model.vocab["x"] is -1, expected a token id'],
  [{}, { vocab: { ...vocab, xx: 1e12 } }, 'model.vocab["xx"] is 1000000000000, expected a token id'],
  [{}, { vocab: { ...vocab, xx: "7" } }, 'model.vocab["xx"] is "7", expected a token id'],
  [{}, { vocab: { ...vocab, xx: 20 } }, "model.vocab gives id 20 to "],
  [{}, { merges: { a: 1 } }, 'model.merges is {"a":1}, expected an array'],
  [{}, { merges: ["a b c"] }, 'model.merges[0] is "a b c", expected two tokens'],
  [{}, { merges: [["a", 1]] }, "model.merges[0] is 1, expected a string"],
  [{}, { merges: [7] }, "model.merges[0] is 7, expected an array"],
  [{}, { merges: ["a 中"] }, 'model.merges[0] is "a 中", but "中" is not in model.vocab'],
  [{}, { merges: ["q Q"] }, 'model.merges[0] is "q Q", but "qQ" is not in model.vocab'],
  [{ added_tokens: {} }, {}, "added_tokens is {}, expected an array"],
  [{ added_tokens: [null] }, {}, "added_tokens[0] is null, expected an object"],
  [{ added_tokens: [token("", 400)] }, {}, "added_tokens[0].content is empty"],
  [{ added_tokens: [token("<x>", 20)] }, {}, 'added_tokens[0] gives id 20 to "<x>", which the vocabulary contradicts'],
  [{ added_tokens: [token("<x>", 400), token("<x>", 401)] }, {}, "added_tokens[1] gives id 401"],
  [{ added_tokens: [token("<x>", 400, { special: 1 })] }, {}, "added_tokens[0].special is 1, expected true or false"],
  [{ normalizer: { type: "Lowercase" } }, {}, "normalizer Lowercase is not supported (NFC, NFD, NFKC, NFKD are)"],
  [{ pre_tokenizer: null }, {}, 'pre_tokenizer ends in null, expected "ByteLevel"'],
  [{ pre_tokenizer: { type: "Metaspace" } }, {}, 'pre_tokenizer ends in "Metaspace", expected "ByteLevel"'],
  [
    { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Punctuation" }, { type: "ByteLevel" }] } },
    {},
    "pre_tokenizer Punctuation is not supported",
  ],
  [
    { pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "toString" }, { type: "ByteLevel" }] } },
    {},
    "pre_tokenizer toString is not supported",
  ],
  [
    split("a", { behavior: "MergedWithNext" }),
    {},
    'Split has behavior "MergedWithNext"; Isolated and Removed are supported',
  ],
  [split("(?>a)"), {}, 'pre_tokenizer pattern "(?>a)": group (?>a is not supported'],
  [split("("), {}, 'pre_tokenizer pattern "(": '],
  [split("", { pattern: {} }), {}, "pre_tokenizer.pattern.Regex is missing, expected a string"],
  [{ post_processor: { type: "BertProcessing" } }, {}, 'post_processor "BertProcessing" is not supported'],
  [
    {
      post_processor: {
        type: "TemplateProcessing",
        single: [{ SpecialToken: { id: "<s>" } }, { Sequence: { id: "A" } }],
      },
    },
    {},
    'post_processor.single[0] names "<s>", which is no token',
  ],
  [{ post_processor: { type: "TemplateProcessing", single: [] } }, {}, "post_processor.single has the text 0 times"],
  [{ decoder: null }, {}, "decoder is null, expected ByteLevel"],
  [{ decoder: { type: "WordPiece" } }, {}, "decoder is WordPiece, expected ByteLevel"],
];

for (const [parts, model, message] of refused) {
  test(`A tokenizer.json is refused with: ${message}`, () => {
    const json = withParts(small, parts, model);
    if (parts.model === null) json.model = {};
    expect(() => new Tokenizer(json, {}, "some/tokenizer.json")).toThrow(TokenizerError);
    expect(() => new Tokenizer(json, {}, "some/tokenizer.json")).toThrow("some/tokenizer.json: ");
    expect(() => new Tokenizer(json, {}, "some/tokenizer.json")).toThrow(message);
  });
}

describe("loadTokenizer", () => {
  const good = JSON.stringify(small.toJSON());

  test("names a file that is not there", () => {
    expect(() => loadTokenizer(join(folder, "none"))).toThrow(`${join(folder, "none")}: there is no such file`);
    expect(() => loadTokenizer(inFolder("empty", {}))).toThrow(join(folder, "empty", "tokenizer.json"));
  });

  test("names a file that is cut short, empty, or not an object", () => {
    for (const [name, content, reason] of [
      ["cut", good.slice(0, good.length / 2), "is not JSON"],
      ["blank", "", "is not JSON (it is empty)"],
      ["list", "[1, 2]", "holds [1,2], expected an object"],
      ["binary", "\0\u0001\ufffd", "is not JSON"],
    ] as const) {
      const dir = inFolder(name, { "tokenizer.json": content });
      expect(() => loadTokenizer(dir)).toThrow(`${join(dir, "tokenizer.json")}: ${reason}`);
    }
  });

  test("names a tokenizer_config.json that is cut short or names a token that is none", () => {
    const cut = inFolder("config-cut", { "tokenizer.json": good, "tokenizer_config.json": '{"eos_token": ' });
    expect(() => loadTokenizer(cut)).toThrow(`${join(cut, "tokenizer_config.json")}: is not JSON`);
    const wrong = inFolder("config-wrong", {
      "tokenizer.json": good,
      "tokenizer_config.json": '{"eos_token": "</s>"}',
    });
    expect(() => loadTokenizer(wrong)).toThrow(
      `${join(wrong, "tokenizer_config.json")}: eos_token is "</s>", which is no token of tokenizer.json`,
    );
  });

  test("takes roles as objects and a template from chat_template.jinja or from a list", () => {
    const jinja = inFolder("jinja", {
      "tokenizer.json": good,
      "tokenizer_config.json": '{"eos_token": {"content": "<|im_end|>", "lstrip": false}}',
      "chat_template.jinja": "{{ messages }}\n",
    });
    expect(loadTokenizer(jinja).eosTokenId).toBe(2);
    expect(loadTokenizer(jinja).chatTemplate).toBe("{{ messages }}\n");
    const templates = [
      { name: "tool", template: "T" },
      { name: "default", template: "D" },
    ];
    expect(new Tokenizer(small.toJSON(), { chat_template: templates }).chatTemplate).toBe("D");
  });

  test("works without a tokenizer_config.json", () => {
    const tokenizer = loadTokenizer(inFolder("bare", { "tokenizer.json": good }));
    expect(tokenizer.eosToken).toBeUndefined();
    expect(tokenizer.eosTokenId).toBeUndefined();
    expect(tokenizer.chatTemplate).toBeUndefined();
    expect(tokenizer.encode("The fox")).toEqual(small.encode("The fox"));
  });
});

test("A vocabulary with hostile keys is only a vocabulary", () => {
  const text = JSON.stringify(small.toJSON()).replace('"vocab":{', '"vocab":{"__proto__":400,"constructor":401,');
  const tokenizer = new Tokenizer(JSON.parse(text));
  expect(tokenizer.tokenToId("__proto__")).toBe(400);
  expect(tokenizer.tokenToId("constructor")).toBe(401);
  expect(tokenizer.tokenToId("toString")).toBeUndefined();
  expect(tokenizer.vocabSize).toBe(402);
});
