import { expect, test } from "bun:test";
import fc from "fast-check";
import { type Splitter, splitByRegex, splitGpt2, splitInTurn } from "../../framework/text/pretokenize.ts";
import { anyText, oddTexts } from "./oracle.ts";

const gpt2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

function piecesOf(splitter: Splitter, text: string, start = 0, end = text.length): string[] {
  const pieces: string[] = [];
  splitter(text, start, end, (piece, from, to) => pieces.push(piece.slice(from, to)));
  return pieces;
}

test("GPT-2's pieces are those of its regular expression", () => {
  for (const text of oddTexts) expect(piecesOf(splitGpt2, text)).toEqual(text.match(gpt2) ?? []);
  const dense = fc.string({
    unit: fc.constantFrom("a", "É", "中", "𝒳", "1", "²", "𝟙", " ", "\n", "\ufeff", "'", "s", "l", "!", "\ud83d"),
  });
  const check = (text: string): void => expect(piecesOf(splitGpt2, text)).toEqual(text.match(gpt2) ?? []);
  fc.assert(fc.property(fc.oneof(dense, anyText), check), { numRuns: 2000 });
});

test("A stretch of a text is split as if it stood alone", () => {
  fc.assert(
    fc.property(anyText, fc.nat(80), fc.nat(80), (text, a, b) => {
      const [start, end] = [Math.min(a, b, text.length), Math.min(Math.max(a, b), text.length)];
      const part = text.slice(start, end);
      expect(piecesOf(splitGpt2, text, start, end)).toEqual(piecesOf(splitGpt2, part));
      const letters = splitByRegex(/\p{L}+(?!\d)/gu, { matches: true, between: true });
      expect(piecesOf(letters, text, start, end)).toEqual(piecesOf(letters, part));
    }),
  );
});

test("A splitter by pattern keeps matches, what lies between, or both", () => {
  const pieces = (matches: boolean, between: boolean): string[] =>
    piecesOf(splitByRegex(/\d+/gu, { matches, between }), "a12b3");
  expect(pieces(true, true)).toEqual(["a", "12", "b", "3"]);
  expect(pieces(true, false)).toEqual(["12", "3"]);
  expect(pieces(false, true)).toEqual(["a", "b"]);
});

test("A pattern that matches nothing at all ends and gives the text between its matches", () => {
  expect(piecesOf(splitByRegex(/x*/gu, { matches: true, between: true }), "a😀xxb").join("")).toBe("a😀xxb");
});

test("Splitters in turn cut each other's pieces and lose nothing", () => {
  const digits = splitByRegex(/\d/gu, { matches: true, between: true });
  expect(piecesOf(splitInTurn([digits, splitGpt2]), "it's 12 o'clock")).toEqual([
    "it",
    "'s",
    " ",
    "1",
    "2",
    " o",
    "'",
    "clock",
  ]);
  fc.assert(
    fc.property(anyText, (text) => expect(piecesOf(splitInTurn([digits, splitGpt2]), text).join("")).toBe(text)),
  );
});
