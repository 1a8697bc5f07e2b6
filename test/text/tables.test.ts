import { expect, test } from "bun:test";
import fc from "fast-check";
import { Heap } from "../../framework/text/heap.ts";
import { PairTable, PieceTable } from "../../framework/text/tables.ts";
import { anyText } from "./oracle.ts";

test("A pair table gives each pair one index, through growth", () => {
  const table = new PairTable(4);
  const index = (a: number, b: number): number => table.add(a, b);
  for (let a = 0; a < 100; a++) for (let b = 0; b < 100; b++) expect(index(a, b)).toBe(a * 100 + b);
  for (let a = 0; a < 100; a++) for (let b = 0; b < 100; b++) expect(table.find(a, b)).toBe(a * 100 + b);
  expect(table.find(100, 0)).toBe(-1);
  expect(table.size).toBe(10_000);
  expect([table.lefts[1234], table.rights[1234]]).toEqual([12, 34]);
});

test("A piece table is a map from strings to indices, through growth and clearing", () => {
  fc.assert(
    fc.property(fc.array(anyText, { maxLength: 50 }), fc.nat(3), (texts, offset) => {
      const table = new PieceTable();
      for (let round = 0; round < 2; round++) {
        const map = new Map<string, number>();
        for (const text of [...texts, ...texts]) {
          const start = Math.min(offset, text.length);
          const key = text.slice(start);
          const expected = map.get(key) ?? map.size;
          map.set(key, expected);
          expect(table.add(text, start, text.length)).toBe(expected);
        }
        expect(table.size).toBe(map.size);
        for (const [key, index] of map) {
          const units = table.units.subarray(table.starts[index]!, table.starts[index + 1]!);
          expect(String.fromCharCode(...units)).toBe(key);
        }
        table.clear();
      }
    }),
  );
  const table = new PieceTable();
  for (let i = 0; i < 20_000; i++) expect(table.add(`piece ${i}`, 0, `piece ${i}`.length)).toBe(i);
  expect(table.add("piece 77", 0, 8)).toBe(77);
});

test("A heap gives its items back in order and lets its top sink", () => {
  const order = fc.uniqueArray(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 600 });
  fc.assert(
    fc.property(order, (items) => {
      const priority = Float64Array.from({ length: 1001 }, (_, i) => i);
      const heap = new Heap((a, b) => priority[a]! < priority[b]!, 1);
      for (const item of items) heap.push(item);
      expect(heap.peek()).toBe(Math.min(...items));
      priority[heap.peek()!] = 2000;
      heap.resettle();
      const popped: number[] = [];
      while (heap.size > 0) popped.push(heap.pop());
      expect(popped.map((item) => priority[item]!)).toEqual(items.map((item) => priority[item]!).sort((a, b) => a - b));
      expect(heap.peek()).toBeUndefined();
    }),
    { numRuns: 50 },
  );
});
