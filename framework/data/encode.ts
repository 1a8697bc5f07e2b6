/** Lines of data to tokens, as the threads of `tokenize.ts` do it. */
import { ChatError } from "../text/chat.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { type EncodedConversation, encodeConversation, parseConversation } from "./conversations.ts";
import { parseLine } from "./documents.ts";
import { DataError } from "./files.ts";
import { parsePreference } from "./pairs.ts";
import { fitConversation, fitPair, type Truncate } from "./truncate.ts";

/** How lines become tokens. */
export type Encoding =
  /** Ids set around each document; undefined sets none. */
  | { stage: "text"; bos: number | undefined; eos: number | undefined }
  | { stage: "conversations" | "preferences"; maxLength: number; truncate: Truncate };

export interface Job {
  id: number;
  texts: string[];
  /** "file:line" of each. */
  places: string[];
}

/** Tokens of documents one after the other, and of each its length and a hash of its tokens. */
export interface Encoded {
  tokens: Uint32Array<ArrayBuffer>;
  documents: Uint32Array<ArrayBuffer>;
  /** Of each token, 1 where it is trained on; undefined where all are. */
  trained: Uint8Array<ArrayBuffer> | undefined;
  found: Findings;
}

export interface Findings {
  /** Documents longer than they may be, of which a part is kept. */
  truncated: number;
  /** Documents left out because no token of what is kept of them is trained on. */
  untrained: number;
  /** How many lines have each format. */
  formats: Record<string, number>;
  /** What is wrong with lines that cannot be read, in their order. */
  failures: string[];
}

export const nothingFound = (): Findings => ({ truncated: 0, untrained: 0, formats: {}, failures: [] });

type Sample = { ids: Int32Array | Uint32Array; trained?: Uint8Array };

/**
 * Encodes the lines of a job. Text stands between bos and eos, and a special token's name in it is that token, as in MiniMind's data;
 * a conversation is one document, a pair of preferences two, the chosen one first.
 */
export function encodeAll(tokenizer: Tokenizer, { texts, places }: Job, encoding: Encoding): Encoded {
  const found = nothingFound();
  if (encoding.stage === "text") {
    const { bos, eos } = encoding;
    return joined(
      texts.map((text) => ({ ids: around(bos, tokenizer.encodeIds(text, { addSpecialTokens: false }), eos) })),
      found,
    );
  }
  const samples: Sample[] = [];
  texts.forEach((text, i) => {
    try {
      samples.push(...encodeLine(tokenizer, text, places[i], encoding, found));
    } catch (error) {
      if (error instanceof DataError) found.failures.push(error.message);
      else if (error instanceof ChatError) found.failures.push(`${places[i]}: ${error.message}`);
      else throw error;
    }
  });
  return joined(samples, found);
}

function encodeLine(
  tokenizer: Tokenizer,
  source: string,
  where: string,
  { stage, maxLength, truncate }: Exclude<Encoding, { stage: "text" }>,
  found: Findings,
): Sample[] {
  const value = parseLine(source, where, stage);
  let fitted: { samples: EncodedConversation[]; truncated: boolean };
  let format = "preferences";
  if (stage === "conversations") {
    const parsed = parseConversation(value, where);
    format = parsed.format;
    fitted = fitConversation(tokenizer, parsed.conversation, maxLength, truncate);
  } else {
    const { chosen, rejected } = parsePreference(value, where);
    fitted = fitPair(
      [encodeConversation(tokenizer, chosen), encodeConversation(tokenizer, rejected)],
      maxLength,
      truncate,
    );
  }
  found.formats[format] = (found.formats[format] ?? 0) + 1;
  found.truncated += Number(fitted.truncated);
  if (fitted.samples.every(({ trained }) => trained.indexOf(1, 1) > 0)) return fitted.samples;
  found.untrained++;
  return [];
}

function around(bos: number | undefined, ids: Uint32Array, eos: number | undefined): Uint32Array {
  const whole = new Uint32Array(ids.length + Number(bos !== undefined) + Number(eos !== undefined));
  if (bos !== undefined) whole[0] = bos;
  whole.set(ids, Number(bos !== undefined));
  if (eos !== undefined) whole[whole.length - 1] = eos;
  return whole;
}

function joined(samples: readonly Sample[], found: Findings): Encoded {
  const length = samples.reduce((sum, { ids }) => sum + ids.length, 0);
  const tokens = new Uint32Array(length);
  const trained = samples.some((sample) => sample.trained) ? new Uint8Array(length) : undefined;
  const documents = new Uint32Array(2 * samples.length);
  let at = 0;
  samples.forEach((sample, i) => {
    tokens.set(sample.ids, at);
    if (sample.trained) trained?.set(sample.trained, at);
    at += sample.ids.length;
    documents[2 * i] = sample.ids.length;
    documents[2 * i + 1] = hash(tokens, at - sample.ids.length, at);
  });
  return { tokens, documents, trained, found };
}

/** FNV-1a over the ids, so that equal documents are known as equal. */
function hash(tokens: Uint32Array, start: number, end: number): number {
  let h = 0x811c9dc5;
  for (let i = start; i < end; i++) {
    h = Math.imul(h ^ (tokens[i] & 0xff), 0x01000193);
    h = Math.imul(h ^ (tokens[i] >>> 8), 0x01000193);
  }
  return (h ^ (h >>> 15)) >>> 0;
}
