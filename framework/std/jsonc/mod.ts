/**
 * `@std/jsonc` where JSR cannot be reached: JSON with comments and trailing commas.
 * Bun.JSONC is not used: it also takes single quotes and text after the end, and its errors name no place.
 */

export type JsonValue = { [key: string]: JsonValue | undefined } | JsonValue[] | string | number | boolean | null;

const BLANK = /(?:[ \t\r\n\uFEFF]|\/\/[^\n]*|\/\*.*?\*\/)*/sy;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])/y;
const STRING = /"(?:[^"\\\n]|\\.)*"/y;
const WORD = /[^\s,:[\]{}"/]+/y;
const WORDS = new Map<string, JsonValue>([
  ["true", true],
  ["false", false],
  ["null", null],
]);
const MAX_DEPTH = 512;

/**
 * Parses JSON with comments (both kinds) and trailing commas; of two equal keys the last wins, as in `JSON.parse`.
 * @throws SyntaxError that names line and column, both counted from 1: `Expected "," or "}", found "b" (line 3, column 2)`
 */
export function parse(text: string): JsonValue {
  let at = 0;

  /** What the sticky pattern matches here, stepping over it; undefined where it does not match. */
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    at += found?.length ?? 0;
    return found;
  };
  const skipBlank = () => {
    take(BLANK);
    if (text.startsWith("/*", at)) fail('Expected "*/" before the end of the file: this comment is never closed');
  };
  const fail = (message: string): never => {
    const before = text.slice(0, at);
    const line = before.split("\n").length;
    throw new SyntaxError(`${message} (line ${line}, column ${at - before.lastIndexOf("\n")})`);
  };
  const found = () => {
    if (at >= text.length) return "the end of the file";
    WORD.lastIndex = at;
    return JSON.stringify(WORD.exec(text)?.[0].slice(0, 20) ?? text[at]);
  };
  const string = (): string => {
    const start = at;
    const raw = take(STRING);
    try {
      if (raw !== undefined) return JSON.parse(raw);
    } catch {
      at = start;
    }
    return fail("Unterminated string, or one with a raw line break, a control character or a wrong escape");
  };

  const value = (depth: number): JsonValue => {
    if (depth > MAX_DEPTH) fail(`Nested deeper than ${MAX_DEPTH} levels`);
    skipBlank();
    if (text[at] === "{") return object(depth);
    if (text[at] === "[") return array(depth);
    if (text[at] === '"') return string();
    const number = take(NUMBER);
    if (number !== undefined) return Number(number);
    WORD.lastIndex = at;
    const word = WORD.exec(text)?.[0] ?? "";
    const known = WORDS.get(word);
    if (known === undefined) return fail(`Expected a value, found ${found()}`);
    at += word.length;
    return known;
  };
  /** Reads items up to `close`, a trailing comma allowed. */
  const items = (close: "}" | "]", item: () => void) => {
    at++;
    for (skipBlank(); text[at] !== close; skipBlank()) {
      item();
      skipBlank();
      if (text[at] === ",") at++;
      else if (text[at] !== close) fail(`Expected "," or "${close}", found ${found()}`);
    }
    at++;
  };
  const array = (depth: number): JsonValue[] => {
    const result: JsonValue[] = [];
    items("]", () => result.push(value(depth + 1)));
    return result;
  };
  const object = (depth: number): JsonValue => {
    const result: { [key: string]: JsonValue } = {};
    items("}", () => {
      if (text[at] !== '"') fail(`Expected a key in double quotes, found ${found()}`);
      const key = string();
      skipBlank();
      if (text[at] !== ":") fail(`Expected ":" after the key ${JSON.stringify(key)}, found ${found()}`);
      at++;
      // Not an assignment: the key "__proto__" is data here, as in JSON.parse.
      const property = { value: value(depth + 1), writable: true, enumerable: true, configurable: true };
      Object.defineProperty(result, key, property);
    });
    return result;
  };

  const result = value(0);
  skipBlank();
  if (at < text.length) fail(`Expected the end of the file, found ${found()}`);
  return result;
}
