import { Buffer } from "node:buffer";
import { setImmediate } from "node:timers/promises";
import { type AddedToken, AddedTokenMatcher } from "./added.ts";
import { bytesByChar, byteToChar } from "./bytes.ts";
import { Heap } from "./heap.ts";
import { splitGpt2 } from "./pretokenize.ts";
import { grown, PairTable, PieceTable } from "./tables.ts";

/** How far training has come: bytes of text read, then merges made. */
export type TrainProgress = { stage: "read"; bytes: number } | { stage: "merge"; done: number; total: number };

/** What training learned: the token of each id (added tokens, bytes, merges) and the pairs that were merged. */
export interface Trained {
  tokens: string[];
  merges: [number, number][];
}

/** The distinct pieces of a corpus and how often each occurs. */
export interface PieceCounts {
  pieces: PieceTable;
  counts: Uint32Array;
  /** UTF-8 bytes of the texts. */
  bytes: number;
}

/** A pair seen once saves one token in the whole corpus: not worth an id. */
const leastCount = 2;
/** Milliseconds of work between two reports, at which the event loop also gets its turn. */
const reportEvery = 100;

/**
 * Counts the pieces of a corpus. Texts are cut at the added tokens first, so that their spelling teaches nothing.
 * @throws TypeError where a text is not a string
 */
export async function countPieces(
  texts: Iterable<string> | AsyncIterable<string>,
  added: readonly AddedToken[],
  onProgress?: (progress: TrainProgress) => void,
): Promise<PieceCounts> {
  const matcher = new AddedTokenMatcher(added.map((token) => ({ content: token.content, token })));
  const pieces = new PieceTable();
  let counts = new Uint32Array(1 << 10);
  let bytes = 0;
  let reported = performance.now();
  const count = (text: string, start: number, end: number): void => {
    const piece = pieces.add(text, start, end);
    if (piece >= counts.length) counts = grown(counts);
    counts[piece]!++;
  };
  for await (const text of texts) {
    if (typeof text !== "string") throw new TypeError(`trainTokenizer: a text is ${typeof text}, expected a string`);
    bytes += Buffer.byteLength(text);
    for (const section of matcher.split(text)) {
      if ("text" in section) splitGpt2(section.text, 0, section.text.length, count);
    }
    if (performance.now() - reported > reportEvery) {
      onProgress?.({ stage: "read", bytes });
      await setImmediate();
      reported = performance.now();
    }
  }
  onProgress?.({ stage: "read", bytes });
  return { pieces, counts, bytes };
}

/**
 * Learns merges: the pair of tokens that stands side by side most often becomes a token, again and again (Sennrich et
 * al. 2016, arXiv:1508.07909). Of pairs that are equally frequent the one with the smaller ids comes first, so the same
 * corpus always gives the same tokens: those that Hugging Face's `BpeTrainer` gives with `min_frequency` 2.
 * Stops early where no pair occurs twice.
 * @param vocabSize  tokens wanted in all, added tokens and the 256 bytes included
 */
export async function learnMerges(
  corpus: PieceCounts,
  vocabSize: number,
  added: readonly AddedToken[],
  onProgress?: (progress: TrainProgress) => void,
): Promise<Trained> {
  const tokens = [...added.map((token) => token.content), ...bytesByChar.map((byte) => byteToChar[byte]!)];
  const reserved = new Set(added.map((token) => token.content));
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges: [number, number][] = [];
  const total = vocabSize - tokens.length;
  const state = new MergeState(corpus, ids, vocabSize);
  let reported = performance.now();
  while (tokens.length < vocabSize) {
    const pair = state.mostFrequent();
    if (pair === undefined) break;
    const { left, right } = pair;
    const token = tokens[left]! + tokens[right]!;
    if (reserved.has(token)) continue;
    const id = ids.get(token) ?? tokens.length;
    if (id === tokens.length) {
      tokens.push(token);
      ids.set(token, id);
    }
    merges.push([left, right]);
    state.merge(pair.index, id);
    if (performance.now() - reported > reportEvery) {
      onProgress?.({ stage: "merge", done: tokens.length - (vocabSize - total), total });
      await setImmediate();
      reported = performance.now();
    }
  }
  onProgress?.({ stage: "merge", done: total, total });
  return { tokens, merges };
}

/**
 * All pieces laid end to end, one position a byte, a gap around each. A token holds its id at its first and at its last
 * position, so both neighbours are found without links. The places of each pair are a doubly linked list.
 */
class MergeState {
  readonly #symbols: Int32Array;
  readonly #weights: Uint32Array; // of the piece that a position is in
  readonly #following: Int32Array; // the next place of the same pair
  readonly #preceding: Int32Array;
  readonly #lengths: Int32Array; // in bytes, by token
  readonly #pairs = new PairTable(1 << 15);
  // By pair:
  #counts = new Float64Array(1 << 15);
  #first = new Int32Array(1 << 15);
  #last = new Int32Array(1 << 15);
  #risenAt = new Int32Array(1 << 15);
  // The queue holds entries of a pair and the count that it had then. A fallen count is set right when its entry comes
  // up, a risen one gets a new entry.
  readonly #queue = new Heap((a, b) => this.#comesFirst(a, b));
  #entryPair = new Int32Array(1 << 15);
  #entryCount = new Float64Array(1 << 15);
  #entries = 0;
  #risen: number[] = [];
  #round = 1;

  constructor({ pieces, counts }: PieceCounts, ids: ReadonlyMap<string, number>, vocabSize: number) {
    const byteIds = Int32Array.from(byteToChar, (char) => ids.get(char)!);
    const { symbols, weights } = layOut(pieces, counts, byteIds);
    this.#symbols = symbols;
    this.#weights = weights;
    this.#following = new Int32Array(symbols.length);
    this.#preceding = new Int32Array(symbols.length);
    this.#lengths = new Int32Array(vocabSize).fill(1, 0, ids.size);
    for (let at = 0; at + 1 < symbols.length; at++) this.#addPair(at, symbols[at]!, symbols[at + 1]!);
    this.#queueRisen();
  }

  /** The pair to merge next, which leaves the queue; undefined where none is frequent enough. */
  mostFrequent(): { index: number; left: number; right: number } | undefined {
    for (let entry = this.#queue.peek(); entry !== undefined; entry = this.#queue.peek()) {
      const index = this.#entryPair[entry]!;
      const count = this.#counts[index]!;
      if (count >= leastCount && count < this.#entryCount[entry]!) {
        this.#entryCount[entry] = count;
        this.#queue.resettle();
        continue;
      }
      this.#queue.pop();
      if (count >= leastCount && count === this.#entryCount[entry]!) {
        return { index, left: this.#pairs.lefts[index]!, right: this.#pairs.rights[index]! };
      }
    }
    return undefined;
  }

  /** Puts token `id` wherever the pair stands, left to right. */
  merge(pair: number, id: number): void {
    const symbols = this.#symbols;
    const left = this.#pairs.lefts[pair]!;
    const right = this.#pairs.rights[pair]!;
    const leftLength = this.#lengths[left]!;
    const length = leftLength + this.#lengths[right]!;
    this.#lengths[id] = length;
    for (let at = this.#first[pair]!; at >= 0; at = this.#first[pair]!) {
      const before = symbols[at - 1]!;
      const after = symbols[at + length]!;
      const beforeAt = before < 0 ? -1 : at - this.#lengths[before]!;
      this.#removePair(beforeAt, before, left);
      this.#removePair(at, left, right);
      this.#removePair(at + leftLength, right, after);
      symbols[at] = id;
      symbols[at + length - 1] = id;
      this.#addPair(beforeAt, before, id);
      this.#addPair(at, id, after);
    }
    this.#queueRisen();
  }

  #comesFirst(a: number, b: number): boolean {
    const more = this.#entryCount[a]! - this.#entryCount[b]!;
    if (more !== 0) return more > 0;
    const left = this.#pairs.lefts[this.#entryPair[a]!]! - this.#pairs.lefts[this.#entryPair[b]!]!;
    if (left !== 0) return left < 0;
    return this.#pairs.rights[this.#entryPair[a]!]! < this.#pairs.rights[this.#entryPair[b]!]!;
  }

  #queueRisen(): void {
    for (const pair of this.#risen) {
      if (this.#counts[pair]! < leastCount) continue;
      if (this.#entries === this.#entryPair.length) {
        this.#entryPair = grown(this.#entryPair);
        this.#entryCount = grown(this.#entryCount);
      }
      this.#entryPair[this.#entries] = pair;
      this.#entryCount[this.#entries] = this.#counts[pair]!;
      this.#queue.push(this.#entries++);
    }
    this.#risen = [];
    this.#round++;
  }

  /** A gap (id below 0) makes no pair. */
  #addPair(at: number, left: number, right: number): void {
    if (left < 0 || right < 0) return;
    const known = this.#pairs.size;
    const pair = this.#pairs.add(left, right);
    if (pair >= this.#counts.length) this.#growPairs();
    if (pair === known) this.#first[pair] = this.#last[pair] = -1;
    if (this.#risenAt[pair] !== this.#round) {
      this.#risenAt[pair] = this.#round;
      this.#risen.push(pair);
    }
    this.#counts[pair]! += this.#weights[at]!;
    const last = this.#last[pair]!;
    this.#preceding[at] = last;
    this.#following[at] = -1;
    if (last < 0) this.#first[pair] = at;
    else this.#following[last] = at;
    this.#last[pair] = at;
  }

  #removePair(at: number, left: number, right: number): void {
    if (left < 0 || right < 0) return;
    const pair = this.#pairs.find(left, right);
    this.#counts[pair]! -= this.#weights[at]!;
    const following = this.#following[at]!;
    const preceding = this.#preceding[at]!;
    if (preceding < 0) this.#first[pair] = following;
    else this.#following[preceding] = following;
    if (following < 0) this.#last[pair] = preceding;
    else this.#preceding[following] = preceding;
  }

  #growPairs(): void {
    this.#counts = grown(this.#counts);
    this.#first = grown(this.#first);
    this.#last = grown(this.#last);
    this.#risenAt = grown(this.#risenAt);
  }
}

const gap = -1;

const utf16 = new TextDecoder("utf-16le", { ignoreBOM: true });
const utf8 = new TextEncoder();

/** The bytes of every piece as ids with a gap before, between and after them, and how often each byte's piece occurs. */
function layOut(pieces: PieceTable, counts: Uint32Array, byteIds: Int32Array) {
  let symbols = new Int32Array(1 << 12);
  let weights = new Uint32Array(1 << 12);
  symbols[0] = gap;
  let n = 1;
  for (let piece = 0; piece < pieces.size; piece++) {
    const bytes = utf8.encode(utf16.decode(pieces.units.subarray(pieces.starts[piece]!, pieces.starts[piece + 1]!)));
    if (n + bytes.length + 1 > symbols.length) {
      symbols = grown(symbols, n + bytes.length + 1);
      weights = grown(weights, n + bytes.length + 1);
    }
    for (const byte of bytes) {
      symbols[n] = byteIds[byte]!;
      weights[n++] = counts[piece]!;
    }
    symbols[n++] = gap;
  }
  return { symbols: symbols.slice(0, n), weights: weights.slice(0, n) };
}
