import { basename, dirname, join } from "node:path";
import type { TokenizerSpec } from "./format.ts";
import { describe, type JsonObject, TokenizerError } from "./json.ts";
import { chatMlTemplate, type SpecialToken, type TokenRole } from "./special.ts";

/** A template by itself, or the one named "default" of several. */
export function readChatTemplate(value: JsonObject[string] | undefined): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  for (const entry of value) {
    if (typeof entry !== "object" || entry === null || Array.isArray(entry)) continue;
    if (entry.name === "default" && typeof entry.template === "string") return entry.template;
  }
  return undefined;
}

/** The token of a role and its id; undefined where tokenizer_config.json names none. */
export function readRole(
  config: JsonObject,
  role: TokenRole,
  spec: TokenizerSpec,
  file: string,
): [string | undefined, number | undefined] {
  const value = config[`${role}_token`];
  if (value === undefined || value === null) return [undefined, undefined];
  const token = typeof value === "object" && !Array.isArray(value) ? value.content : value;
  const id = typeof token === "string" ? spec.ids.get(token) : undefined;
  if (typeof token !== "string" || id === undefined) {
    const name = join(dirname(file), "tokenizer_config.json");
    throw new TokenizerError(`${name}: ${role}_token is ${describe(value)}, which is no token of ${basename(file)}`);
  }
  return [token, id];
}

/** What a decoder takes. Without it version 4 of transformers makes types of tokens too, which `generate` refuses. */
export const modelInputs = { model_input_names: ["input_ids", "attention_mask"] };

/** A tokenizer_config.json with which `transformers` loads the tokenizer as a PreTrainedTokenizerFast. */
export function makeConfig(specials: readonly SpecialToken[]): JsonObject {
  const withRole = (role: TokenRole): string | null =>
    specials.find(({ roles }) => roles?.includes(role))?.content ?? null;
  const decoder = specials.map(({ content, special = true }, id): [string, JsonObject] => [
    String(id),
    { content, lstrip: false, normalized: false, rstrip: false, single_word: false, special },
  ]);
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    add_prefix_space: false,
    added_tokens_decoder: Object.fromEntries(decoder),
    additional_special_tokens: [],
    bos_token: withRole("bos"),
    eos_token: withRole("eos"),
    pad_token: withRole("pad"),
    unk_token: withRole("unk"),
    clean_up_tokenization_spaces: false,
    model_max_length: 32768,
    ...modelInputs,
    chat_template: specials.some(({ content }) => content === "<|im_start|>") ? chatMlTemplate : null,
  };
}
