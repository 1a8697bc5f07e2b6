/** Two open-addressing hash tables on typed arrays: no object, and no substring that would pin its document, per entry. */

/** Twice as long, with the old content in front. */
export function grown<T extends Int32Array | Uint32Array | Uint16Array | Uint8Array | Float64Array>(
  array: T,
  atLeast = 0,
): T {
  let length = array.length * 2;
  while (length < atLeast) length *= 2;
  const longer = new (array.constructor as new (length: number) => T)(length);
  longer.set(array);
  return longer;
}

/** Maps a pair of token ids to a dense index 0, 1, 2 … in the order of first sight. */
export class PairTable {
  /** Pairs held. */
  size = 0;
  /** The left and the right id of each pair, by index. */
  lefts: Int32Array;
  rights: Int32Array;
  #slots: Int32Array; // index + 1, or 0 where empty
  #mask: number;

  /** @param expected pairs to make room for at the start; grows beyond */
  constructor(expected = 1024) {
    let slots = 16;
    while (slots < expected * 2) slots *= 2;
    this.#slots = new Int32Array(slots);
    this.#mask = slots - 1;
    this.lefts = new Int32Array(slots / 2);
    this.rights = new Int32Array(slots / 2);
  }

  /** The index of a pair, or -1. */
  find(left: number, right: number): number {
    let slot = hashPair(left, right) & this.#mask;
    for (;;) {
      const index = this.#slots[slot]! - 1;
      if (index < 0 || (this.lefts[index] === left && this.rights[index] === right)) return index;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** The index of a pair, which is put in where it is new. */
  add(left: number, right: number): number {
    let slot = hashPair(left, right) & this.#mask;
    for (;;) {
      const index = this.#slots[slot]! - 1;
      if (index < 0) break;
      if (this.lefts[index] === left && this.rights[index] === right) return index;
      slot = (slot + 1) & this.#mask;
    }
    if (this.size === this.lefts.length) {
      this.#grow();
      return this.add(left, right);
    }
    this.lefts[this.size] = left;
    this.rights[this.size] = right;
    this.#slots[slot] = ++this.size;
    return this.size - 1;
  }

  #grow(): void {
    this.lefts = grown(this.lefts);
    this.rights = grown(this.rights);
    this.#slots = new Int32Array(this.#slots.length * 2);
    this.#mask = this.#slots.length - 1;
    for (let i = 0; i < this.size; i++) {
      let slot = hashPair(this.lefts[i]!, this.rights[i]!) & this.#mask;
      while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask;
      this.#slots[slot] = i + 1;
    }
  }
}

function hashPair(left: number, right: number): number {
  const h = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca77);
  return h ^ (h >>> 15);
}

/** Maps a stretch of text to a dense index 0, 1, 2 … in the order of first sight; the keys' UTF-16 units stand in one array. */
export class PieceTable {
  /** Pieces held. */
  size = 0;
  /** Piece i is units[starts[i], starts[i + 1]). */
  units = new Uint16Array(1 << 12);
  starts = new Int32Array(1 << 10);
  #hashes = new Int32Array(1 << 10);
  #slots = new Int32Array(1 << 11);
  #mask = (1 << 11) - 1;

  /**
   * The index of text[start, end), which is put in where it is new: a new piece has the index that `size` had before
   * the call.
   */
  add(text: string, start: number, end: number): number {
    let hash = end - start;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    hash ^= hash >>> 15;
    let slot = hash & this.#mask;
    for (;;) {
      const index = this.#slots[slot]! - 1;
      if (index < 0) break;
      if (this.#hashes[index] === hash && this.#equals(index, text, start, end)) return index;
      slot = (slot + 1) & this.#mask;
    }
    if (this.size + 2 > this.starts.length) {
      this.#grow();
      slot = this.#emptySlot(hash);
    }
    const at = this.starts[this.size]!;
    const stop = at + end - start;
    if (stop > this.units.length) this.units = grown(this.units, stop);
    for (let i = start, u = at; i < end; i++) this.units[u++] = text.charCodeAt(i);
    this.#hashes[this.size] = hash;
    this.#slots[slot] = ++this.size;
    this.starts[this.size] = stop;
    return this.size - 1;
  }

  /** Forgets every piece and keeps the memory. */
  clear(): void {
    this.size = 0;
    this.#slots.fill(0);
  }

  #equals(index: number, text: string, start: number, end: number): boolean {
    let u = this.starts[index]!;
    if (this.starts[index + 1]! - u !== end - start) return false;
    for (let i = start; i < end; i++) if (this.units[u++] !== text.charCodeAt(i)) return false;
    return true;
  }

  #emptySlot(hash: number): number {
    let slot = hash & this.#mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & this.#mask;
    return slot;
  }

  #grow(): void {
    this.starts = grown(this.starts);
    this.#hashes = grown(this.#hashes);
    this.#slots = new Int32Array(this.#slots.length * 2);
    this.#mask = this.#slots.length - 1;
    for (let i = 0; i < this.size; i++) this.#slots[this.#emptySlot(this.#hashes[i]!)] = i + 1;
  }
}
