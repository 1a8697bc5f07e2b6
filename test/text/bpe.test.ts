import { expect, test } from "bun:test";
import fc from "fast-check";
import { BpeEncoder, type BpeModel } from "../../framework/text/bpe.ts";

const merge = (left: number, right: number, id: number) => ({ left, right, id });
const [a, b, c] = [97, 98, 99];

/** The bytes are their own ids; later merges lean on earlier ones, and one of lower rank only shows up late. */
const merges = [
  merge(256, c, 259), // "ab" "c" before "ab" itself exists
  merge(a, b, 256),
  merge(b, a, 257),
  merge(a, a, 258),
  merge(258, 258, 260),
  merge(256, 256, 261),
  merge(257, c, 262),
  merge(261, 261, 263),
];
const model = (more: Partial<BpeModel> = {}): BpeModel => ({
  ...{ byteIds: Int32Array.from({ length: 256 }, (_, byte) => byte), merges, unkId: -1 },
  ...more,
});

function encode(encoder: BpeEncoder, ...pieces: string[]): number[] {
  encoder.clear();
  for (const piece of pieces) encoder.encodePiece(piece, 0, piece.length);
  return [...encoder.ids.subarray(0, encoder.count)];
}

/** The rule by the letter: of all pairs that can merge, the one of lowest rank, the leftmost of these. */
function naive(text: string): number[] {
  const ids = [...new TextEncoder().encode(text)];
  for (;;) {
    const ranks = ids.map((id, i) => merges.findIndex(({ left, right }) => left === id && right === ids[i + 1]));
    const found = ranks.filter((rank) => rank >= 0);
    if (found.length === 0) return ids;
    const rank = Math.min(...found);
    ids.splice(ranks.indexOf(rank), 2, merges[rank]!.id);
  }
}

test("Short and long pieces merge by rank, leftmost first", () => {
  const piece = fc.oneof(
    fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 40 }),
    fc.string({ unit: fc.constantFrom("a", "b", "c", "中"), minLength: 65, maxLength: 300 }),
  );
  const encoder = new BpeEncoder(model());
  fc.assert(
    fc.property(piece, (text) => expect(encode(encoder, text)).toEqual(naive(text))),
    { numRuns: 300 },
  );
});

test("Pieces on either side of the scan's limit of 64 bytes encode alike", () => {
  const encoder = new BpeEncoder(model());
  for (let length = 60; length < 70; length++) {
    for (const unit of ["a", "ab", "abc", "baa"]) {
      const text = unit.repeat(length).slice(0, length);
      expect(encode(encoder, text)).toEqual(naive(text));
    }
  }
});

test("A piece of a megabyte encodes", () => {
  const ids = encode(new BpeEncoder(model()), "abab".repeat(1 << 18));
  expect(ids.length).toBe(1 << 17);
  expect(new Set(ids)).toEqual(new Set([263]));
});

test("A remembered piece gives the same ids again, after 70,000 others and after growth", () => {
  const encoder = new BpeEncoder(model());
  const first = encode(encoder, "abcab");
  expect(encode(encoder, "abcab", "abcab")).toEqual([...first, ...first]);
  for (let i = 0; i < 70_000; i++) {
    const text = `a${i}b`;
    expect(encode(encoder, text).length).toBe(text.length);
  }
  expect(encode(encoder, "abcab")).toEqual(first);
});

test("A byte without a token is left out, or becomes unk, and parts what stands beside it", () => {
  const byteIds = model().byteIds.with(c, -1);
  expect(encode(new BpeEncoder(model({ byteIds })), "acb", "ab")).toEqual([a, b, 256]);
  expect(encode(new BpeEncoder(model({ byteIds, unkId: 7 })), "acb")).toEqual([a, 7, b]);
});

test("A whole piece of the vocabulary is taken without merging where merges are ignored", () => {
  const encoder = new BpeEncoder(
    model({
      wholePieces: new Map([
        ["aab", 300],
        ["\ufffd", 301],
      ]),
    }),
  );
  expect(encode(encoder, "aab", "aaba", "\ud800")).toEqual([300, ...naive("aaba"), 301]);
});

test("A pair that is listed twice has its last rank, as in Hugging Face's libraries", () => {
  const twice = [merge(a, b, 256), merge(b, c, 257), merge(a, b, 256)];
  expect(encode(new BpeEncoder(model({ merges: twice })), "abc")).toEqual([a, 257]);
});
