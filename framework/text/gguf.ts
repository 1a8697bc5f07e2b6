/** A tokenizer as a GGUF's metadata holds it, in llama.cpp's words, both ways. */
import type { GgufMeta } from "../checkpoint/gguf.ts";
import type { GgufValue } from "../checkpoint/ggufWrite.ts";
import type { AddedToken } from "./added.ts";
import { makeTokenizerJson } from "./format.ts";
import { type Json, type JsonObject, TokenizerError } from "./json.ts";
import type { TokenRole } from "./special.ts";
import { Tokenizer } from "./tokenizer.ts";

/** llama.cpp's kinds of tokens. */
const kinds = { normal: 1, control: 3, userDefined: 4, unused: 5 } as const;
/** llama.cpp's names of the roles. */
const roles: Record<TokenRole, string> = { bos: "bos", eos: "eos", pad: "padding", unk: "unknown" };

const byteLevel = (use_regex: boolean): JsonObject => ({
  ...{ type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex },
});
const split = (pattern: string): JsonObject => ({
  type: "Sequence",
  pretokenizers: [
    { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false },
    byteLevel(false),
  ],
});
const words = (digits: string): string =>
  String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|${digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

/** How text is cut before merging, by llama.cpp's name for it. Normalization it does not do. */
const preTokenizers: Record<string, { pre_tokenizer: JsonObject; normalizer: Json }> = {
  "gpt-2": { pre_tokenizer: byteLevel(true), normalizer: null },
  qwen2: { pre_tokenizer: split(words(String.raw`\p{N}`)), normalizer: { type: "NFC" } },
  "llama-bpe": { pre_tokenizer: split(words(String.raw`\p{N}{1,3}`)), normalizer: null },
  smollm: {
    pre_tokenizer: { type: "Sequence", pretokenizers: [{ type: "Digits", individual_digits: true }, byteLevel(true)] },
    normalizer: null,
  },
};

/** What decides how a pre-tokenizer cuts. */
function signature(value: Json | undefined): string {
  const { type, pretokenizers, pattern, individual_digits, add_prefix_space, use_regex } = (value ?? {}) as JsonObject;
  if (type === "Sequence") return (pretokenizers as Json[]).map(signature).join(" ");
  return JSON.stringify([
    type,
    pattern ?? null,
    individual_digits ?? false,
    add_prefix_space ?? false,
    use_regex ?? true,
  ]);
}

/**
 * The metadata of a tokenizer for a model of so many embedding rows; rows without a token become unused ones.
 * @throws TokenizerError where llama.cpp has no name for the way it cuts text
 */
export function ggufTokenizer(tokenizer: Tokenizer, rows: number): Map<string, GgufValue> {
  const json = tokenizer.toJSON();
  const cut = signature(json.pre_tokenizer);
  const pre = Object.keys(preTokenizers).find((name) => signature(preTokenizers[name]!.pre_tokenizer) === cut);
  if (!pre)
    throw new TokenizerError(
      `tokenizer.json: llama.cpp has no name that is known here for its pre_tokenizer; ${Object.keys(preTokenizers).join(", ")} are`,
    );
  const ids = Array.from({ length: rows }, (_, id) => id);
  const added = new Map(tokenizer.addedTokens.map((token) => [token.id, token]));
  const kindOf = (id: number) => {
    const token = added.get(id);
    if (token) return token.special ? kinds.control : kinds.userDefined;
    return tokenizer.idToToken(id) === undefined ? kinds.unused : kinds.normal;
  };
  const merges = ((json.model as JsonObject).merges as (string | [string, string])[]).map((merge) =>
    typeof merge === "string" ? merge : merge.join(" "),
  );
  const values = new Map<string, GgufValue>([
    ["tokenizer.ggml.model", ["string", "gpt2"]],
    ["tokenizer.ggml.pre", ["string", pre]],
    ["tokenizer.ggml.tokens", ["strings", ids.map((id) => tokenizer.idToToken(id) ?? `[PAD${id}]`)]],
    ["tokenizer.ggml.token_type", ["i32s", ids.map(kindOf)]],
    ["tokenizer.ggml.merges", ["strings", merges]],
  ]);
  for (const [role, name] of Object.entries(roles)) {
    const id = tokenizer[`${role as TokenRole}TokenId`];
    if (id !== undefined) values.set(`tokenizer.ggml.${name}_token_id`, ["u32", id]);
  }
  const around = tokenizer.encode("");
  const { bosTokenId: bos, eosTokenId: eos, chatTemplate } = tokenizer;
  values.set("tokenizer.ggml.add_bos_token", ["bool", bos !== undefined && around.includes(bos)]);
  values.set("tokenizer.ggml.add_eos_token", ["bool", eos !== undefined && around.includes(eos)]);
  if (chatTemplate !== undefined) values.set("tokenizer.chat_template", ["string", chatTemplate]);
  return values;
}

/**
 * The tokenizer in a GGUF's metadata. What llama.cpp does not keep of one (how spaces around special tokens are taken) is as in most.
 * @throws TokenizerError where there is none, or none of byte-level BPE
 */
export function tokenizerFromGguf(values: ReadonlyMap<string, GgufMeta>, file: string): Tokenizer {
  const value = (key: string) => values.get(`tokenizer.${key}`);
  const [model, pre] = [value("ggml.model"), String(value("ggml.pre") ?? "gpt-2")];
  if (model !== "gpt2")
    throw new TokenizerError(
      `${file}: tokenizer.ggml.model is ${JSON.stringify(model)}, expected "gpt2" (byte-level BPE)`,
    );
  const cut = preTokenizers[pre];
  if (!cut)
    throw new TokenizerError(
      `${file}: tokenizer.ggml.pre is ${pre}, which is not read; ${Object.keys(preTokenizers).join(", ")} are`,
    );
  const types = (value("ggml.token_type") ?? []) as number[];
  const end = types.findLastIndex((type) => type !== kinds.unused) + 1;
  const tokens = ((value("ggml.tokens") ?? []) as string[]).slice(0, end || undefined);
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const idOf = (token: string) => {
    const id = ids.get(token);
    if (id === undefined)
      throw new TokenizerError(`${file}: a merge names ${JSON.stringify(token)}, which is no token`);
    return id;
  };
  const merges = ((value("ggml.merges") ?? []) as string[]).map((merge): [number, number] => {
    const [left = "", right = ""] = merge.split(" ");
    return [idOf(left), idOf(right)];
  });
  const added = tokens.flatMap((content, id): AddedToken[] => {
    if (types[id] !== kinds.control && types[id] !== kinds.userDefined) return [];
    const special = types[id] === kinds.control;
    return [{ id, content, special, lstrip: false, rstrip: false, singleWord: false, normalized: false }];
  });
  const json: JsonObject = { ...makeTokenizerJson(tokens, merges, added), ...cut };
  (json.model as JsonObject).ignore_merges = pre === "llama-bpe";
  return new Tokenizer(json, configOf(values, tokens), file);
}

function configOf(values: ReadonlyMap<string, GgufMeta>, tokens: readonly string[]): JsonObject {
  const named = Object.entries(roles).map(([role, name]) => {
    const id = values.get(`tokenizer.ggml.${name}_token_id`);
    return [`${role}_token`, typeof id === "number" ? (tokens[id] ?? null) : null];
  });
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    clean_up_tokenization_spaces: false,
    ...Object.fromEntries(named),
    chat_template: (values.get("tokenizer.chat_template") as string | undefined) ?? null,
  };
}
