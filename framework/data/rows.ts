/** Which documents a row of a batch holds, for any row at once: training resumes anywhere without replaying what came before. */
import { hostRandom } from "../tensor/random.ts";
import type { Shards } from "./shards.ts";

/** A stretch of one document within a row. */
export interface Piece {
  document: number;
  /** First token within the document. */
  from: number;
  length: number;
}

export interface Rows {
  readonly count: number;
  pieces(row: number): Piece[];
}

/** Documents in their order, end to end, cut into rows of `length`: only the last row has room left. */
export function packedRows(shards: Pick<Shards, "lengths">, order: Uint32Array, length: number): Rows {
  const ends = new Float64Array(order.length);
  let total = 0;
  order.forEach((document, i) => {
    total += shards.lengths[document];
    ends[i] = total;
  });
  return {
    count: Math.ceil(total / length),
    pieces(row) {
      const found: Piece[] = [];
      const end = Math.min((row + 1) * length, total);
      let at = row * length;
      for (let i = firstAfter(ends, at); at < end; i++) {
        const start = ends[i] - shards.lengths[order[i]];
        const piece = { document: order[i], from: at - start, length: Math.min(ends[i], end) - at };
        found.push(piece);
        at += piece.length;
      }
      return found;
    },
  };
}

/** A document a row, cut off at `length`. */
export function paddedRows(shards: Pick<Shards, "lengths">, order: Uint32Array, length: number): Rows {
  return {
    count: order.length,
    pieces: (row) => [{ document: order[row], from: 0, length: Math.min(shards.lengths[order[row]], length) }],
  };
}

/**
 * Whole documents, as many to a row as fit: no document is split, so that no reply stands without its question. Long documents are
 * placed first, each in the fullest row that still has room (best fit decreasing), which leaves little of the rows empty. How long
 * the documents of each row are depends on the lengths alone, so every order has as many rows; which document of a length it is, and
 * the order of the rows, are shuffled. A document longer than a row is cut.
 */
export function wholeRows(
  shards: Pick<Shards, "lengths">,
  order: Uint32Array,
  length: number,
  rowOrder?: (rows: Uint32Array) => Uint32Array,
): Rows {
  const lengthOf = (document: number) => Math.min(shards.lengths[document], length);
  const sorted = order.slice().sort((a, b) => lengthOf(b) - lengthOf(a)); // stable: the order decides among equals
  const rows: number[][] = [];
  const withRoom: number[][] = Array.from({ length: length + 1 }, () => []);
  for (const document of sorted) {
    const needed = lengthOf(document);
    let room = needed;
    while (room <= length && withRoom[room].length === 0) room++;
    const row = room <= length ? (withRoom[room].pop() as number) : rows.push([]) - 1;
    rows[row].push(document);
    withRoom[Math.min(room, length) - needed].push(row);
  }
  const all = Uint32Array.from(rows.keys());
  const shown = rowOrder ? rowOrder(all) : all;
  return {
    count: rows.length,
    pieces: (row) => rows[shown[row]].map((document) => ({ document, from: 0, length: lengthOf(document) })),
  };
}

/** The first index whose end lies after `at`. */
function firstAfter(ends: Float64Array, at: number): number {
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] > at) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Fisher and Yates' shuffle, the same for the same seed and epoch. */
export function shuffled(items: Uint32Array, seed: number, epoch: number): Uint32Array {
  const out = items.slice();
  const random = hostRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(epoch + 1, 0x85ebca6b));
  for (let i = out.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [out[i], out[j]] = [out[j], out[i]];
  }
  return out;
}

/**
 * Documents for training and those held out. A document's own tokens decide, so that copies of one fall on the same side; at
 * least one is held out where there are two different ones.
 * @param heldOut the share to hold out, 0 to 1
 */
export function splitDocuments(hashes: Uint32Array, heldOut: number): { train: Uint32Array; val: Uint32Array } {
  const all = Uint32Array.from(hashes.keys());
  if (heldOut <= 0) return { train: all, val: new Uint32Array(0) };
  const limit = heldOut * 2 ** 32;
  const side = (keep: (hash: number) => boolean) => ({
    train: all.filter((i) => !keep(hashes[i])),
    val: all.filter((i) => keep(hashes[i])),
  });
  const plain = side((hash) => mixed(hash) < limit);
  if (plain.val.length > 0 && plain.train.length > 0) return plain;
  const pick = plain.val.length === 0 ? hashes.reduce((a, b) => (mixed(b) < mixed(a) ? b : a)) : undefined;
  const forced = pick === undefined ? plain : side((hash) => hash === pick);
  return forced.train.length > 0 ? forced : { train: all, val: new Uint32Array(0) };
}

/** Spreads a hash evenly over 32 bits. */
function mixed(hash: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}
