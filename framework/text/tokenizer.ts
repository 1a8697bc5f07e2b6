import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { writeFileAtomic } from "../checkpoint/file.ts";
import { type AddedToken, AddedTokenMatcher } from "./added.ts";
import { BpeEncoder } from "./bpe.ts";
import { bytesOfToken } from "./bytes.ts";
import { makeConfig, readChatTemplate, readRole } from "./config.ts";
import { makeTokenizerJson, readTokenizerJson, type TokenizerSpec } from "./format.ts";
import { describe, type JsonObject, readJsonFile, TokenizerError } from "./json.ts";
import { checkSpecials, defaultSpecialTokens, type SpecialToken, type TokenRole } from "./special.ts";
import { DecodeStream } from "./stream.ts";
import { countPieces, learnMerges, type TrainProgress } from "./trainer.ts";

export interface EncodeOptions {
  /** Put the file's own tokens around the text (Llama's `<|begin_of_text|>`); default true. */
  addSpecialTokens?: boolean;
  /** Take the spelling of a special token in the text for the token; default true. Use false for what strangers write. */
  allowSpecial?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out; default false. */
  skipSpecialTokens?: boolean;
}

const utf8 = new TextEncoder();

/** A byte-level BPE tokenizer, as Hugging Face's tokenizer.json describes it. Made by `loadTokenizer` and `trainTokenizer`. */
export class Tokenizer {
  /** Ids run from 0 to below this: the rows that an embedding needs. */
  readonly vocabSize: number;
  /** Tokens with a role, from tokenizer_config.json; undefined where it names none. */
  readonly bosToken: string | undefined;
  readonly eosToken: string | undefined;
  readonly padToken: string | undefined;
  readonly unkToken: string | undefined;
  readonly bosTokenId: number | undefined;
  readonly eosTokenId: number | undefined;
  readonly padTokenId: number | undefined;
  readonly unkTokenId: number | undefined;
  /** The Jinja template that renders a conversation, as it stands in the files. */
  readonly chatTemplate: string | undefined;
  /** Every token that is matched in the text before any splitting. */
  readonly addedTokens: readonly AddedToken[];

  readonly #json: JsonObject;
  readonly #config: JsonObject;
  readonly #spec: TokenizerSpec;
  readonly #encoder: BpeEncoder;
  readonly #encodePiece: (text: string, start: number, end: number) => void;
  readonly #matchers: Record<"all" | "plain", AddedTokenMatcher[]>;
  readonly #bytes: (Uint8Array | undefined)[];
  readonly #special = new Set<number>();
  #hash: string | undefined;

  /**
   * @param json    a parsed tokenizer.json
   * @param config  a parsed tokenizer_config.json, {} where there is none
   * @param file    names the source in errors
   * @throws TokenizerError on what is missing, malformed, or not byte-level BPE
   */
  constructor(json: unknown, config: JsonObject = {}, file = "tokenizer.json") {
    const spec = readTokenizerJson(json, file);
    this.#json = json as JsonObject;
    this.#config = config;
    this.#spec = spec;
    this.vocabSize = spec.tokens.length;
    this.addedTokens = spec.added;
    this.chatTemplate = readChatTemplate(config.chat_template);
    this.#bytes = spec.tokens.map((token) => (token === undefined ? undefined : bytesOfToken(token)));
    for (const { id, content, special } of spec.added) {
      this.#bytes[id] = utf8.encode(content);
      if (special) this.#special.add(id);
    }
    const more = config.additional_special_tokens;
    for (const token of Array.isArray(more) ? more : []) {
      const id = typeof token === "string" ? spec.ids.get(token) : undefined;
      if (id !== undefined) this.#special.add(id);
    }
    const role = (name: TokenRole): [string | undefined, number | undefined] => readRole(config, name, spec, file);
    [this.bosToken, this.bosTokenId] = role("bos");
    [this.eosToken, this.eosTokenId] = role("eos");
    [this.padToken, this.padTokenId] = role("pad");
    [this.unkToken, this.unkTokenId] = role("unk");
    this.#matchers = {
      all: makeMatchers(spec, spec.added),
      plain: makeMatchers(
        spec,
        spec.added.filter((token) => !token.special),
      ),
    };
    this.#encoder = new BpeEncoder({
      ...spec,
      wholePieces: spec.ignoreMerges ? wholePieces(spec, this.#bytes) : undefined,
    });
    this.#encodePiece = (text, start, end) => this.#encoder.encodePiece(text, start, end);
  }

  /** The ids of a text. */
  encode(text: string, options: EncodeOptions = {}): number[] {
    return Array.from(this.#encode(text, options));
  }

  /** The same in a typed array of its own, without the cost of a number[]. */
  encodeIds(text: string, options: EncodeOptions = {}): Uint32Array<ArrayBuffer> {
    return this.#encode(text, options).slice() as Uint32Array<ArrayBuffer>;
  }

  /** The text of ids. Ids without a token are left out, bytes that are not UTF-8 become U+FFFD. */
  decode(ids: Iterable<number>, options: DecodeOptions = {}): string {
    const parts: Uint8Array[] = [];
    let length = 0;
    for (const id of ids) {
      const bytes = this.#bytesOf(id, options.skipSpecialTokens === true);
      if (bytes === undefined) continue;
      parts.push(bytes);
      length += bytes.length;
    }
    const all = new Uint8Array(length);
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(all);
  }

  /** Decodes ids as they come: `push(id)` returns the text that is whole, `end()` what is left. */
  decodeStream(options: DecodeOptions = {}): DecodeStream {
    return new DecodeStream((id) => this.#bytesOf(id, options.skipSpecialTokens === true));
  }

  /** The id of a token in the file's spelling ("Ġthe"), or undefined. */
  tokenToId(token: string): number | undefined {
    return this.#spec.ids.get(token);
  }

  /** The token of an id in the file's spelling, or undefined. */
  idToToken(id: number): string | undefined {
    return this.#spec.tokens[id];
  }

  /** The bytes that an id stands for, or undefined. */
  tokenBytes(id: number): Uint8Array | undefined {
    return this.#bytes[id]?.slice();
  }

  /**
   * SHA-256 (hex) of all that decides which ids a text becomes, and of the ids with a role: a key for caches of
   * tokenized data. Stays the same through save and load.
   */
  hash(): string {
    if (this.#hash === undefined) {
      const { tokens, merges, added, ignoreMerges, unkId, before, after } = this.#spec;
      const roles = [this.bosTokenId, this.eosTokenId, this.padTokenId, this.unkTokenId];
      const pairs = merges.map(({ left, right }) => [left, right]);
      const { normalizer, pre_tokenizer } = this.#json;
      const content = [tokens, pairs, added, ignoreMerges, unkId, before, after, roles, normalizer, pre_tokenizer];
      this.#hash = createHash("sha256").update(JSON.stringify(content)).digest("hex");
    }
    return this.#hash;
  }

  /** The content of tokenizer.json. It is shared: do not change it. */
  toJSON(): JsonObject {
    return this.#json;
  }

  /**
   * Writes tokenizer.json and tokenizer_config.json into a folder, which is made where it is missing.
   * @throws FileError where a file cannot be written; the old one is kept
   */
  save(dir: string): void {
    writeFileAtomic(join(dir, "tokenizer.json"), JSON.stringify(this.#json, null, 2) + "\n");
    writeFileAtomic(join(dir, "tokenizer_config.json"), JSON.stringify(this.#config, null, 2) + "\n");
  }

  /** Leaves the ids in the encoder's buffer and returns a view of them that the next call overwrites. */
  #encode(text: string, { addSpecialTokens = true, allowSpecial = true }: EncodeOptions): Uint32Array {
    if (typeof text !== "string") throw new TypeError(`encode: the text is ${describe(text)}, expected a string`);
    const encoder = this.#encoder;
    encoder.clear();
    if (addSpecialTokens) for (const id of this.#spec.before) encoder.push(id);
    this.#encodeSections(text, allowSpecial ? this.#matchers.all : this.#matchers.plain, 0);
    if (addSpecialTokens) for (const id of this.#spec.after) encoder.push(id);
    return encoder.ids.subarray(0, encoder.count);
  }

  /** Matcher 0 looks before normalization, matcher 1 after it. */
  #encodeSections(text: string, matchers: AddedTokenMatcher[], step: number): void {
    const matcher = matchers[step];
    if (matcher === undefined) {
      if (text !== "") this.#spec.split(text, 0, text.length, this.#encodePiece);
      return;
    }
    for (const section of matcher.split(text)) {
      if ("id" in section) {
        this.#encoder.push(section.id);
      } else {
        const normalize = step === 0 ? this.#spec.normalize : undefined;
        this.#encodeSections(normalize ? normalize(section.text) : section.text, matchers, step + 1);
      }
    }
  }

  #bytesOf(id: number, skipSpecial: boolean): Uint8Array | undefined {
    if (!Number.isInteger(id) || id < 0) throw new RangeError(`decode: ${describe(id)} is no token id`);
    return skipSpecial && this.#special.has(id) ? undefined : this.#bytes[id];
  }
}

function makeMatchers(spec: TokenizerSpec, added: readonly AddedToken[]): AddedTokenMatcher[] {
  const asWritten = (token: AddedToken) => ({ content: token.content, token });
  const { normalize } = spec;
  if (normalize === undefined) return [new AddedTokenMatcher(added.map(asWritten))];
  const normalized = (token: AddedToken) => ({ content: normalize(token.content), token });
  return [
    new AddedTokenMatcher(added.filter((token) => !token.normalized).map(asWritten)),
    new AddedTokenMatcher(added.filter((token) => token.normalized).map(normalized)),
  ];
}

/** Tokens of the model that are whole text, by that text. */
function wholePieces(spec: TokenizerSpec, bytes: readonly (Uint8Array | undefined)[]): Map<string, number> {
  const added = new Set(spec.added.map((token) => token.id));
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  const pieces = new Map<string, number>();
  bytes.forEach((token, id) => {
    if (token === undefined || added.has(id)) return;
    try {
      pieces.set(decoder.decode(token), id);
    } catch {
      // part of a character: no text is equal to it
    }
  });
  return pieces;
}

/**
 * Reads a tokenizer.json, and beside it tokenizer_config.json and chat_template.jinja where they are.
 * @param path  the file, or the folder that holds it
 * @throws TokenizerError that names the file and what is wrong with it
 */
export function loadTokenizer(path: string): Tokenizer {
  const isFolder = existsSync(path) && statSync(path).isDirectory();
  const file = isFolder ? join(path, "tokenizer.json") : path;
  if (!existsSync(file)) throw new TokenizerError(`${file}: there is no such file; expected a tokenizer.json`);
  const beside = (name: string): string => join(dirname(file), name);
  const config = existsSync(beside("tokenizer_config.json")) ? readJsonFile(beside("tokenizer_config.json")) : {};
  if (config.chat_template === undefined && existsSync(beside("chat_template.jinja"))) {
    config.chat_template = readFileSync(beside("chat_template.jinja"), "utf8");
  }
  return new Tokenizer(readJsonFile(file), config, file);
}

export interface TrainOptions {
  /** Tokens in all: the special ones, 256 bytes, and merges. */
  vocabSize: number;
  /** Set aside with ids from 0 on; default `defaultSpecialTokens`. */
  specialTokens?: readonly (string | SpecialToken)[];
  /** Called some ten times a second. */
  onProgress?: (progress: TrainProgress) => void;
}

/**
 * Trains a byte-level BPE tokenizer. The same texts in the same order give the same tokenizer. Fewer than `vocabSize`
 * tokens come out where the texts hold no pair that occurs twice any more. Needs some 20 bytes of memory for each byte
 * of distinct words.
 * @throws TokenizerError where vocabSize is too small, a special token is empty or given twice, or there is no text
 */
export async function trainTokenizer(
  texts: Iterable<string> | AsyncIterable<string>,
  { vocabSize, specialTokens = defaultSpecialTokens, onProgress }: TrainOptions,
): Promise<Tokenizer> {
  const specials = specialTokens.map((token) => (typeof token === "string" ? { content: token } : token));
  checkSpecials(specials, vocabSize);
  const added = specials.map(({ content, special = true }, id): AddedToken => {
    return { id, content, special, lstrip: false, rstrip: false, singleWord: false, normalized: false };
  });
  const corpus = await countPieces(texts, added, onProgress);
  if (corpus.bytes === 0)
    throw new TokenizerError("trainTokenizer: the texts are empty; there is nothing to learn from");
  const { tokens, merges } = await learnMerges(corpus, vocabSize, added, onProgress);
  return new Tokenizer(makeTokenizerJson(tokens, merges, added), makeConfig(specials));
}
