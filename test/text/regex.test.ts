import { expect, test } from "bun:test";
import { compileOniguruma } from "../../framework/text/regex.ts";

const matches = (pattern: string, text: string): string[] => text.match(compileOniguruma(pattern)) ?? [];

/** Pattern, text, matches: what Ruby's `text.scan` gives. */
const cases: [pattern: string, text: string, expected: string[]][] = [
  ["(?i:'s|'ll)", "'S 's 'Ll 'ſ", ["'S", "'s", "'Ll"]],
  ["(?i:[a-c]x)y", "AXy bxy cXY", ["AXy", "bxy"]],
  ["(?i:\\x61)", "aA", ["a", "A"]],
  ["\\s+", "a\u0085 b\ufeffc", ["\u0085 "]],
  ["[^\\s]+", "a\u0085b\ufeff", ["a", "b\ufeff"]],
  ["\\d+", "12１２²", ["12１２"]],
  ["[\\d-]+", "1-２x", ["1-２"]],
  ["\\w+", "naïve_名 x", ["naïve_名", "x"]],
  ["\\p{Han}+|\\p{Script=Greek}", "中文α", ["中文", "α"]],
  ["\\P{L}", "a1", ["1"]],
  [".", "a\nb", ["a", "b"]],
  ["^a$", "a\nba\na", ["a", "a"]],
  ["\\Aa|a\\z", "aaa", ["a", "a"]],
  ["]}", "]}", ["]}"]],
  ["a{,2}b", "aaab", ["aab"]],
  ["a{x}", "a{x}", ["a{x}"]],
  ["(ab){2}+", "ababababab", ["abababab"]],
  ["a++b?+", "aab", ["aab"]],
  ["a+?", "aa", ["a", "a"]],
  ["[-a]+|[b-]", "-ab-", ["-a", "b", "-"]],
  ["[]a]+", "a]", ["a]"]],
  ["[\\[\\]\\-\\\\/^]+", "[]-\\/^", ["[]-\\/^"]],
  ["[!-/&~`]+", "!/~`", ["!/~`"]],
  ["[\\x{1F600}-\\x{1F64F}]", "🙂", ["🙂"]],
  ["(?<!a)b(?=c)", "abc bc", ["b"]],
  ["\\-\\#\\ ", "-# ", ["-# "]],
];

for (const [pattern, text, expected] of cases) {
  test(`${pattern} finds ${JSON.stringify(expected)} in ${JSON.stringify(text)}`, () => {
    expect(matches(pattern, text)).toEqual(expected);
  });
}

const refused: [pattern: string, message: string][] = [
  ["(?>a)", "group (?>a is not supported"],
  ["(?<name>a)", "group (?<n is not supported"],
  ["(a)\\1", "escape \\1 is not supported here"],
  ["\\G", "escape \\G is not supported here"],
  ["[[:alpha:]]", "a class inside the class at 0 is not supported"],
  ["[a&&b]", "the intersection && in the class at 0 is not supported"],
  ["x[abc", "character class at 1 does not end"],
  ["\\p{Nonsense}", "Unicode property \\p{Nonsense} is not known"],
  ["\\x{110000}", "\\x{110000} is no code point"],
  ["a\\", "the pattern ends in a backslash"],
];

for (const [pattern, message] of refused) {
  test(`${pattern} is refused with: ${message}`, () => {
    expect(() => compileOniguruma(pattern)).toThrow(SyntaxError);
    expect(() => compileOniguruma(pattern)).toThrow(message);
  });
}
