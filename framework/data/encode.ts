import type { Tokenizer } from "../text/tokenizer.ts";

/** Ids set around each document; undefined sets none. */
export interface Special {
  bos: number | undefined;
  eos: number | undefined;
}

export interface Job {
  id: number;
  texts: string[];
}

/** Tokens of documents one after the other, and of each its length and a hash of its tokens. */
export interface Encoded {
  tokens: Uint32Array<ArrayBuffer>;
  documents: Uint32Array<ArrayBuffer>;
}

/** Encodes documents, each between bos and eos. A special token's name in the text is that token, as in MiniMind's data. */
export function encodeAll(tokenizer: Tokenizer, texts: readonly string[], { bos, eos }: Special): Encoded {
  const pieces = texts.map((text) => tokenizer.encodeIds(text, { addSpecialTokens: false }));
  const around = Number(bos !== undefined) + Number(eos !== undefined);
  const tokens = new Uint32Array(pieces.reduce((sum, p) => sum + p.length + around, 0));
  const documents = new Uint32Array(2 * texts.length);
  let at = 0;
  pieces.forEach((piece, i) => {
    const start = at;
    if (bos !== undefined) tokens[at++] = bos;
    tokens.set(piece, at);
    at += piece.length;
    if (eos !== undefined) tokens[at++] = eos;
    documents[2 * i] = at - start;
    documents[2 * i + 1] = hash(tokens, start, at);
  });
  return { tokens, documents };
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
