import { expect, test } from "bun:test";
import fc from "fast-check";
import { bytesByChar, bytesOfToken, byteToChar, spellBytes, writeUtf8 } from "../../framework/text/bytes.ts";
import { anyText } from "./oracle.ts";

test("Every byte has a character of its own, printable ASCII itself and space Ġ", () => {
  expect(new Set(byteToChar).size).toBe(256);
  expect(byteToChar.join("").slice(33, 127)).toBe(
    Array.from({ length: 94 }, (_, i) => String.fromCharCode(33 + i)).join(""),
  );
  expect([byteToChar[0], byteToChar[10], byteToChar[32], byteToChar[0xad]]).toEqual(["Ā", "Ċ", "Ġ", "Ń"]);
  expect(bytesByChar.map((byte) => byteToChar[byte])).toEqual([...byteToChar].sort());
});

test("Spelling bytes and reading the spelling are inverses", () => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => expect(bytesOfToken(spellBytes(bytes))).toEqual(bytes)));
});

test("A token with characters outside of the alphabet is its own UTF-8", () => {
  expect(bytesOfToken("中a")).toEqual(new TextEncoder().encode("中a"));
});

test("writeUtf8 writes what TextEncoder writes, lone surrogates included", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const out = new Int32Array(text.length * 3);
      const count = writeUtf8(text, 0, text.length, out);
      expect([...out.subarray(0, count)]).toEqual([...new TextEncoder().encode(text)]);
    }),
    { numRuns: 500 },
  );
});
