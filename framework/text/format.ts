import type { AddedToken } from "./added.ts";
import { byteToChar } from "./bytes.ts";
import { describe, type Json, type JsonObject, Reader } from "./json.ts";
import { prefixSpace, type Splitter, splitByRegex, splitGpt2, splitInTurn, splitNothing } from "./pretokenize.ts";
import { compileOniguruma } from "./regex.ts";

/** What a tokenizer.json says, checked. */
export interface TokenizerSpec {
  /** Token of each id, added tokens included; undefined where an id is not used. */
  tokens: (string | undefined)[];
  /** Ids of the model's own vocabulary and of the added tokens, by spelling. */
  ids: Map<string, number>;
  merges: { left: number; right: number; id: number }[];
  ignoreMerges: boolean;
  /** The id of every byte's token, -1 where the vocabulary has none. */
  byteIds: Int32Array;
  /** Stands for such bytes; -1 where they are dropped. */
  unkId: number;
  added: AddedToken[];
  normalize: ((text: string) => string) | undefined;
  split: Splitter;
  /** Ids that `addSpecialTokens` puts before and after a text. */
  before: number[];
  after: number[];
}

/**
 * Checks a parsed tokenizer.json and takes from it what encoding needs.
 * @param file  name for the messages
 * @throws TokenizerError on anything that is missing, of the wrong type, or not byte-level BPE
 */
export function readTokenizerJson(json: unknown, file: string): TokenizerSpec {
  const at: Reader = new Reader(file);
  const root = at.object(json, "the file");
  const model = at.object(root.model, "model");
  checkModel(model, at);
  const { tokens, ids } = readVocab(model, at);
  const merges = readMerges(model, ids, at);
  const byteIds = Int32Array.from(byteToChar, (char) => ids.get(char) ?? -1);
  const added = readAdded(root.added_tokens, tokens, ids, at);
  const decoders = steps(root.decoder, "decoder", "decoders", at);
  if (decoders.length !== 1 || decoders[0]!.type !== "ByteLevel") {
    at.fail(`decoder is ${decoders.map((step) => step.type).join(" + ") || "null"}, expected ByteLevel`);
  }
  const unkToken = at.optionalString(model.unk_token, "model.unk_token");
  return {
    tokens,
    ids,
    merges,
    ignoreMerges: model.ignore_merges === true,
    byteIds,
    unkId:
      unkToken === undefined ? -1 : (ids.get(unkToken) ?? at.fail(`model.unk_token ${describe(unkToken)} is no token`)),
    added,
    normalize: readNormalizer(root.normalizer, at),
    split: readPreTokenizer(root.pre_tokenizer, at),
    ...readPostProcessor(root.post_processor, ids, at),
  };
}

/** Settings of `model` that would change the result and that byte-level BPE does not have; the values that mean "off". */
const mustBeOff: Record<string, Json[]> = {
  dropout: [null, 0],
  continuing_subword_prefix: [null, ""],
  end_of_word_suffix: [null, ""],
  fuse_unk: [null, false],
  byte_fallback: [null, false],
};

function checkModel(model: JsonObject, at: Reader): void {
  // Files from before 2020 leave the type out.
  if (model.type !== undefined && model.type !== "BPE") {
    at.fail(`model.type is ${describe(model.type)}; only byte-level "BPE" is supported`);
  }
  for (const [key, off] of Object.entries(mustBeOff)) {
    const value = model[key] ?? null;
    if (!off.includes(value)) at.fail(`model.${key} is ${describe(value)}, which is not supported`);
  }
}

function readVocab(model: JsonObject, at: Reader): Pick<TokenizerSpec, "tokens" | "ids"> {
  const tokens: (string | undefined)[] = [];
  const ids = new Map<string, number>();
  for (const [token, value] of Object.entries(at.object(model.vocab, "model.vocab"))) {
    const id = at.id(value, `model.vocab[${describe(token)}]`);
    if (tokens[id] !== undefined)
      at.fail(`model.vocab gives id ${id} to ${describe(tokens[id])} and ${describe(token)}`);
    tokens[id] = token;
    ids.set(token, id);
  }
  if (ids.size === 0) at.fail("model.vocab is empty");
  return { tokens, ids };
}

function readMerges(model: JsonObject, ids: ReadonlyMap<string, number>, at: Reader): TokenizerSpec["merges"] {
  return at.array(model.merges, "model.merges").map((merge, rank) => {
    const where = `model.merges[${rank}]`;
    const pair = typeof merge === "string" ? merge.split(" ") : at.array(merge, where);
    if (pair.length !== 2) at.fail(`${where} is ${describe(merge)}, expected two tokens`);
    const [left, right] = pair.map((token) => at.string(token, where)) as [string, string];
    const idOf = (token: string): number =>
      ids.get(token) ?? at.fail(`${where} is ${describe(merge)}, but ${describe(token)} is not in model.vocab`);
    return { left: idOf(left), right: idOf(right), id: idOf(left + right) };
  });
}

function readAdded(
  value: Json | undefined,
  tokens: (string | undefined)[],
  ids: Map<string, number>,
  at: Reader,
): AddedToken[] {
  return at.array(value ?? [], "added_tokens").map((entry, index) => {
    const where = `added_tokens[${index}]`;
    const json = at.object(entry, where);
    const content = at.string(json.content, `${where}.content`);
    const id = at.id(json.id, `${where}.id`);
    if (content === "") at.fail(`${where}.content is empty`);
    if ((tokens[id] ?? content) !== content || (ids.get(content) ?? id) !== id) {
      at.fail(`${where} gives id ${id} to ${describe(content)}, which the vocabulary contradicts`);
    }
    tokens[id] = content;
    ids.set(content, id);
    const flag = (key: string, otherwise: boolean): boolean => at.flag(json[key], `${where}.${key}`, otherwise);
    const special = flag("special", false);
    return {
      id,
      content,
      special,
      lstrip: flag("lstrip", false),
      rstrip: flag("rstrip", false),
      singleWord: flag("single_word", false),
      normalized: flag("normalized", !special),
    };
  });
}

/** The steps of a component: those of a `Sequence` (in its `list`, nested ones laid flat), or the one, or none for null. */
function steps(value: Json | undefined, name: string, list: string, at: Reader): JsonObject[] {
  if (value === undefined || value === null) return [];
  const component = at.object(value, name);
  if (component.type !== "Sequence") return [component];
  return at
    .array(component[list], `${name}.${list}`)
    .flatMap((step, index) => steps(step, `${name}.${list}[${index}]`, list, at));
}

const normalForms = ["NFC", "NFD", "NFKC", "NFKD"];

function readNormalizer(value: Json | undefined, at: Reader): TokenizerSpec["normalize"] {
  const forms = steps(value, "normalizer", "normalizers", at).map((step) => {
    const type = at.string(step.type, "normalizer.type");
    if (!normalForms.includes(type)) at.fail(`normalizer ${type} is not supported (${normalForms.join(", ")} are)`);
    return type;
  });
  if (forms.length === 0) return undefined;
  return (text) => forms.reduce((result, form) => result.normalize(form), text);
}

const splitters: Record<string, (step: JsonObject, at: Reader) => Splitter> = {
  ByteLevel(step, at) {
    const inner = at.flag(step.use_regex, "pre_tokenizer.use_regex", true) ? splitGpt2 : splitNothing;
    return at.flag(step.add_prefix_space, "pre_tokenizer.add_prefix_space", false) ? prefixSpace(inner) : inner;
  },

  Digits(step, at) {
    const each = at.flag(step.individual_digits, "pre_tokenizer.individual_digits", false);
    return splitByRegex(each ? /\d/gu : /\d+/gu, { matches: true, between: true });
  },

  Split(step, at) {
    const behavior = at.string(step.behavior, "pre_tokenizer.behavior").toLowerCase();
    const invert = at.flag(step.invert, "pre_tokenizer.invert", false);
    if (behavior !== "isolated" && behavior !== "removed") {
      at.fail(`pre_tokenizer Split has behavior ${describe(step.behavior)}; Isolated and Removed are supported`);
    }
    const isolated = behavior === "isolated";
    return splitByRegex(readPattern(step, at), { matches: isolated || invert, between: isolated || !invert });
  },
};

function readPattern(step: JsonObject, at: Reader): RegExp {
  const pattern = at.object(step.pattern, "pre_tokenizer.pattern");
  if (typeof pattern.String === "string") {
    return new RegExp(pattern.String.replace(/[\^$\\.*+?()[\]{}|/]/g, "\\$&"), "gu");
  }
  const source = at.string(pattern.Regex, "pre_tokenizer.pattern.Regex");
  try {
    return compileOniguruma(source);
  } catch (error) {
    return at.fail(`pre_tokenizer pattern ${describe(source)}: ${(error as Error).message}`);
  }
}

function readPreTokenizer(value: Json | undefined, at: Reader): Splitter {
  const list = steps(value, "pre_tokenizer", "pretokenizers", at);
  if (list.at(-1)?.type !== "ByteLevel") {
    at.fail(
      `pre_tokenizer ends in ${describe(list.at(-1)?.type ?? null)}, expected "ByteLevel" (only byte-level BPE is supported)`,
    );
  }
  if (list.filter((step) => step.type === "ByteLevel").length > 1) at.fail("pre_tokenizer has ByteLevel twice");
  const stages = list.map((step) => {
    const type = at.string(step.type, "pre_tokenizer.type");
    if (!Object.hasOwn(splitters, type)) {
      at.fail(`pre_tokenizer ${type} is not supported (${Object.keys(splitters).join(", ")}, Sequence are)`);
    }
    return splitters[type]!(step, at);
  });
  return stages.length === 1 ? stages[0]! : splitInTurn(stages);
}

/** ByteLevel only trims offsets, which we do not have; a template's tokens stand before and after the text. */
function readPostProcessor(
  value: Json | undefined,
  ids: ReadonlyMap<string, number>,
  at: Reader,
): Pick<TokenizerSpec, "before" | "after"> {
  let before: number[] = [];
  let after: number[] = [];
  for (const step of steps(value, "post_processor", "processors", at)) {
    if (step.type === "ByteLevel") continue;
    if (step.type !== "TemplateProcessing") {
      at.fail(`post_processor ${describe(step.type)} is not supported (ByteLevel, TemplateProcessing, Sequence are)`);
    }
    const template = readTemplate(step, ids, at);
    before = [...template.before, ...before];
    after = [...after, ...template.after];
  }
  return { before, after };
}

function readTemplate(
  step: JsonObject,
  ids: ReadonlyMap<string, number>,
  at: Reader,
): Pick<TokenizerSpec, "before" | "after"> {
  const specials = at.object(step.special_tokens ?? {}, "post_processor.special_tokens");
  const sides: [number[], number[]] = [[], []];
  let side = 0;
  for (const [index, item] of at.array(step.single, "post_processor.single").entries()) {
    const where = `post_processor.single[${index}]`;
    const piece = at.object(item, where);
    if (piece.Sequence !== undefined) {
      side++;
      continue;
    }
    const name = at.string(at.object(piece.SpecialToken, `${where}.SpecialToken`).id, `${where}.SpecialToken.id`);
    if (side > 1) break;
    const special = Object.hasOwn(specials, name)
      ? at.object(specials[name], `special_tokens[${describe(name)}]`)
      : undefined;
    const known = special?.ids ?? [ids.get(name) ?? at.fail(`${where} names ${describe(name)}, which is no token`)];
    for (const id of at.array(known, `${where} ids`)) sides[side]!.push(at.id(id, `${where} ids`));
  }
  if (side !== 1) at.fail(`post_processor.single has the text ${side} times, expected once`);
  return { before: sides[0], after: sides[1] };
}

/** A whole tokenizer.json for a byte-level BPE of ours, as Hugging Face's library writes it. */
export function makeTokenizerJson(
  tokens: readonly string[],
  merges: readonly [number, number][],
  added: readonly AddedToken[],
): JsonObject {
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: added.map((token) => ({
      id: token.id,
      content: token.content,
      single_word: token.singleWord,
      lstrip: token.lstrip,
      rstrip: token.rstrip,
      normalized: token.normalized,
      special: token.special,
    })),
    normalizer: null,
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: merges.map(([left, right]) => `${tokens[left]} ${tokens[right]}`), // the spelling that every version reads
    },
  };
}
