import { expect, test } from "bun:test";
import { parse } from "@std/jsonc";
import fc from "fast-check";

test("comments and trailing commas are left out", () => {
  const text = `// a run
  {
    "data": { "path": "a//b.jsonl", /* tokens */ "seqLen": 512, },
    "steps": [1, 2.5e-3, -0,], // done
  }`;
  expect(parse(text)).toEqual({ data: { path: "a//b.jsonl", seqLen: 512 }, steps: [1, 2.5e-3, -0] });
});

test("any JSON value comes back as JSON.parse gives it", () => {
  fc.assert(fc.property(fc.json({ maxDepth: 4 }), (text) => expect(parse(text)).toEqual(JSON.parse(text))));
  fc.assert(fc.property(fc.string({ unit: "binary" }), (s) => expect(parse(JSON.stringify(s))).toBe(s)));
});

test("text that JSON.parse refuses is refused, unless it is a comment, a trailing comma or a blank", () => {
  const odd = fc.string({ unit: fc.constantFrom(...'{}[]":,1.-eE+0antrufls\\ \n') });
  const refuses = (parser: (text: string) => unknown, text: string) => {
    try {
      parser(text);
      return false;
    } catch (error) {
      expect(error).toBeInstanceOf(SyntaxError);
      return true;
    }
  };
  fc.assert(
    fc.property(odd, (text) => {
      if (!/,\s*[\]}]/.test(text)) expect(refuses(parse, text)).toBe(refuses(JSON.parse, text));
    }),
    { numRuns: 2000 },
  );
});

for (const [text, message] of [
  ['{\n  "a": 1\n  "b": 2\n}', 'Expected "," or "}", found "\\"" (line 3, column 3)'],
  ['{"a" 1}', 'Expected ":" after the key "a", found "1" (line 1, column 6)'],
  ["{'a': 1}", "Expected a key in double quotes, found \"'a'\" (line 1, column 2)"],
  ["[1,,2]", 'Expected a value, found "," (line 1, column 4)'],
  ['{"a": 1} x', 'Expected the end of the file, found "x" (line 1, column 10)'],
  ['{"a": tru}', 'Expected a value, found "tru" (line 1, column 7)'],
  ['{"a": 01}', 'Expected a value, found "01" (line 1, column 7)'],
  ['["a\n"]', "Unterminated string"],
  ["\n\n", "Expected a value, found the end of the file (line 3, column 1)"],
  ["[1, /* 2", "this comment is never closed (line 1, column 5)"],
  ["[".repeat(100_000), "Nested deeper than 512 levels (line 1, column 514)"],
] as const)
  test(`${JSON.stringify(text.slice(0, 24))} is refused with its place`, () => {
    expect(() => parse(text)).toThrow(SyntaxError);
    expect(() => parse(text)).toThrow(message);
  });

test('the key "__proto__" is data', () => {
  const value = parse('{"__proto__": {"polluted": true}}') as object;
  expect(Object.hasOwn(value, "__proto__")).toBe(true);
  expect("polluted" in value).toBe(false);
});

test("a string of a megabyte is read", () => {
  const text = JSON.stringify("é\\n".repeat(400_000));
  expect(parse(text)).toBe(JSON.parse(text));
});
