import { writeUtf8 } from "./bytes.ts";
import { grown, PairTable, PieceTable } from "./tables.ts";

/** What byte-pair encoding needs: the first ids and what merges into what. */
export interface BpeModel {
  /** The id of each byte's token; -1 where the vocabulary has none. */
  byteIds: Int32Array;
  /** Pairs of ids in the order of their rank, and what each becomes. */
  merges: { left: number; right: number; id: number }[];
  /** Stands for a byte without a token; -1 drops such bytes, as Hugging Face does. */
  unkId: number;
  /** Whole pieces that are taken as they are, without merging (`ignore_merges`). */
  wholePieces?: ReadonlyMap<string, number> | undefined;
}

const noRank = 0x7fffffff;
/** Up to this many bytes a scan for the lowest rank beats a heap. */
const scanLimit = 64;
/** Longer pieces are hardly seen twice. UTF-16 units. */
const cachedLength = 32;
const cachedPieces = 1 << 16;
/** A heap key holds a rank above the bits of a position. */
const positions = 2 ** 31;

/**
 * Byte-pair encoding of pieces: the pair of lowest rank is merged first, the leftmost among equals (Sennrich et al. 2016,
 * arXiv:1508.07909). Ids come out in `ids[0, count)`; `clear()` starts anew. Pieces are remembered.
 */
export class BpeEncoder {
  ids = new Uint32Array(1 << 12);
  count = 0;

  readonly #byteIds: Int32Array;
  readonly #unkId: number;
  readonly #wholePieces: ReadonlyMap<string, number> | undefined;
  readonly #pairs: PairTable;
  readonly #rankOf: Int32Array; // by pair index
  readonly #mergedId: Int32Array; // by rank

  readonly #seen = new PieceTable();
  #seenIds = new Uint32Array(1 << 12);
  #seenEnds = new Int32Array(1 << 10);

  #symbols = new Int32Array(1 << 8);
  #ranks = new Int32Array(1 << 8);
  #next = new Int32Array(1 << 8);
  #previous = new Int32Array(1 << 8);
  #heap = new Float64Array(1 << 8);
  #heapSize = 0;

  constructor(model: BpeModel) {
    this.#byteIds = model.byteIds;
    this.#unkId = model.unkId;
    this.#wholePieces = model.wholePieces;
    this.#pairs = new PairTable(model.merges.length);
    this.#rankOf = new Int32Array(model.merges.length);
    this.#mergedId = Int32Array.from(model.merges, (merge) => merge.id);
    model.merges.forEach(({ left, right }, rank) => {
      this.#rankOf[this.#pairs.add(left, right)] = rank;
    });
  }

  /** Forgets the ids written so far. */
  clear(): void {
    this.count = 0;
  }

  /** Writes one id. */
  push(id: number): void {
    if (this.count === this.ids.length) this.ids = grown(this.ids);
    this.ids[this.count++] = id;
  }

  /** Encodes text[start, end) as one piece and writes its ids. */
  encodePiece(text: string, start: number, end: number): void {
    if (end - start > cachedLength) {
      this.#encode(text, start, end);
      return;
    }
    if (this.#seen.size === cachedPieces) this.#seen.clear();
    const known = this.#seen.size;
    const piece = this.#seen.add(text, start, end);
    if (piece < known) {
      this.#repeat(piece);
    } else {
      const from = this.count;
      this.#encode(text, start, end);
      this.#remember(piece, from);
    }
  }

  /** Keeps ids[from, count) as those of a piece. */
  #remember(piece: number, from: number): void {
    const at = piece === 0 ? 0 : this.#seenEnds[piece - 1]!;
    const stop = at + this.count - from;
    if (stop > this.#seenIds.length) this.#seenIds = grown(this.#seenIds, stop);
    if (piece >= this.#seenEnds.length) this.#seenEnds = grown(this.#seenEnds);
    for (let i = at, j = from; i < stop; ) this.#seenIds[i++] = this.ids[j++]!;
    this.#seenEnds[piece] = stop;
  }

  #repeat(piece: number): void {
    const stop = this.#seenEnds[piece]!;
    for (let i = piece === 0 ? 0 : this.#seenEnds[piece - 1]!; i < stop; i++) this.push(this.#seenIds[i]!);
  }

  #encode(text: string, start: number, end: number): void {
    const whole = this.#wholePieces?.get(text.slice(start, end).toWellFormed());
    if (whole !== undefined) {
      this.push(whole);
      return;
    }
    this.#reserve((end - start) * 3);
    const symbols = this.#symbols;
    let n = writeUtf8(text, start, end, symbols);
    for (let i = 0; i < n; i++) symbols[i] = this.#byteIds[symbols[i]!]!;
    n = n <= scanLimit ? this.#mergeByScan(n) : this.#mergeByHeap(n);
    for (let i = 0; i < n; i++) {
      if (symbols[i]! >= 0) this.push(symbols[i]!);
      else if (this.#unkId >= 0) this.push(this.#unkId);
    }
  }

  #rank(left: number, right: number): number {
    const pair = this.#pairs.find(left, right);
    return pair < 0 ? noRank : this.#rankOf[pair]!;
  }

  /** Merges symbols[0, n) in place by looking for the lowest rank anew each time; returns the new n. */
  #mergeByScan(n: number): number {
    const symbols = this.#symbols;
    const ranks = this.#ranks; // of the pair that begins at i
    for (let i = 0; i + 1 < n; i++) ranks[i] = this.#rank(symbols[i]!, symbols[i + 1]!);
    for (;;) {
      let lowest = noRank;
      let at = 0;
      for (let i = 0; i + 1 < n; i++) {
        if (ranks[i]! < lowest) {
          lowest = ranks[i]!;
          at = i;
        }
      }
      if (lowest === noRank) return n;
      symbols[at] = this.#mergedId[lowest]!;
      n--;
      for (let i = at + 1; i < n; i++) {
        symbols[i] = symbols[i + 1]!;
        ranks[i] = ranks[i + 1]!;
      }
      if (at > 0) ranks[at - 1] = this.#rank(symbols[at - 1]!, symbols[at]!);
      if (at + 1 < n) ranks[at] = this.#rank(symbols[at]!, symbols[at + 1]!);
    }
  }

  /** The same with a heap of (rank, position) and a linked list, for long pieces: O(n log n). */
  #mergeByHeap(n: number): number {
    const symbols = this.#symbols;
    const ranks = this.#ranks;
    const next = this.#next;
    const previous = this.#previous;
    this.#heapSize = 0;
    for (let i = 0; i < n; i++) {
      next[i] = i + 1;
      previous[i] = i - 1;
    }
    const look = (at: number): void => {
      ranks[at] = next[at]! < n ? this.#rank(symbols[at]!, symbols[next[at]!]!) : noRank;
      if (ranks[at] !== noRank) this.#pushHeap(ranks[at]! * positions + at);
    };
    for (let i = 0; i < n; i++) look(i);
    while (this.#heapSize > 0) {
      const key = this.#popHeap();
      const at = key % positions;
      const rank = (key - at) / positions;
      if (ranks[at] !== rank) continue; // merged or changed since it was put in
      const gone = next[at]!;
      symbols[at] = this.#mergedId[rank]!;
      ranks[gone] = noRank;
      next[at] = next[gone]!;
      if (next[at]! < n) previous[next[at]!] = at;
      look(at);
      if (previous[at]! >= 0) look(previous[at]!);
    }
    let count = 0;
    for (let i = 0; i < n; i = next[i]!) symbols[count++] = symbols[i]!;
    return count;
  }

  #pushHeap(key: number): void {
    if (this.#heapSize === this.#heap.length) this.#heap = grown(this.#heap);
    const heap = this.#heap;
    let i = this.#heapSize++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (heap[parent]! <= key) break;
      heap[i] = heap[parent]!;
      i = parent;
    }
    heap[i] = key;
  }

  #popHeap(): number {
    const heap = this.#heap;
    const top = heap[0]!;
    const last = heap[--this.#heapSize]!;
    const n = this.#heapSize;
    let i = 0;
    for (let child = 1; child < n; child = 2 * i + 1) {
      if (child + 1 < n && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= last) break;
      heap[i] = heap[child]!;
      i = child;
    }
    heap[i] = last;
    return top;
  }

  #reserve(n: number): void {
    if (n <= this.#symbols.length) return;
    this.#symbols = grown(this.#symbols, n);
    this.#ranks = grown(this.#ranks, n);
    this.#next = grown(this.#next, n);
    this.#previous = grown(this.#previous, n);
  }
}
