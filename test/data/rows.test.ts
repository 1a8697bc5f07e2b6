import { expect, test } from "bun:test";
import fc from "fast-check";
import { shuffled, wholeRows } from "../../framework/data/rows.ts";

const order = (count: number) => Uint32Array.from({ length: count }, (_, i) => i);

test("whole rows hold each document once and none beyond a row, as many rows whatever the order", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 80 }),
      fc.integer(),
      (given, seed) => {
        const shards = { lengths: Uint32Array.from(given) };
        const all = order(given.length);
        const rows = wholeRows(shards, shuffled(all, seed, 1), 32, (rows) => shuffled(rows, seed, 1));
        const held = Array.from({ length: rows.count }, (_, row) => rows.pieces(row));
        for (const row of held) {
          expect(row.length).toBeGreaterThan(0);
          expect(row.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(32);
          for (const piece of row)
            expect(piece).toMatchObject({ from: 0, length: Math.min(32, given[piece.document]) });
        }
        const documents = held.flat().map(({ document }) => document);
        expect(documents.sort((a, b) => a - b)).toEqual([...all]);
        expect(wholeRows(shards, all, 32).count).toBe(rows.count);
      },
    ),
  );
});

test("whole rows leave little room empty", () => {
  const lengths = Uint32Array.from({ length: 500 }, (_, i) => 5 + ((i * 7919) % 60));
  const total = lengths.reduce((a, b) => a + b);
  expect(wholeRows({ lengths }, order(500), 128).count).toBeLessThanOrEqual(Math.ceil(total / 128) + 1);
});
