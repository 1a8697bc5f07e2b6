/**
 * `@std/cli/parse-args` where JSR cannot be reached: the same entry point for what we use of it.
 * Two things are kinder than in the original: a negative number may follow its flag (`--shift -3`; the original wants
 * `--shift=-3`), and `--path=` is the empty string.
 */

export interface ParseOptions {
  /** When true, what follows `--` is put in `["--"]` instead of `_`. */
  "--"?: boolean;
  /** Other names of a flag: `{ help: "h" }`. The value is set under every name. */
  alias?: Record<string, string | readonly string[]>;
  /** Flags that take no value (false unless given); `true`: every `--flag` without `=`. */
  boolean?: boolean | string | readonly string[];
  /** Values of flags that are not given. */
  default?: Record<string, unknown>;
  /** When true, everything after the first word that is no flag goes to `_`. */
  stopEarly?: boolean;
  /** Flags whose value stays text, even where it looks like a number. */
  string?: string | readonly string[];
  /** Flags that may be given several times; their value is an array. */
  collect?: string | readonly string[];
  /** Flags that `--no-flag` sets to false. */
  negatable?: string | readonly string[];
  /** Called with each flag or word that no option names; false leaves it out. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

export interface Args {
  [key: string]: unknown;
  /** The words that belong to no flag. */
  _: (string | number)[];
  "--"?: string[];
}

type Nested = { [key: string]: unknown };

const FLAG = /^--(?<key>[^=]+)(?:=(?<value>.*))?$/s;
const LETTERS = /^-(?<letters>[A-Za-z]+)(?:=(?<value>.*)|(?<glued>[^A-Za-z=].*))?$/s;
const NUMBER = /^(?:0x[0-9a-f]+|[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?)$/i;

/**
 * Parses command-line words: `--key value`, `--key=value`, `--flag`, `--a.b 1` (nested: `{ a: { b: 1 } }`), `-h`, `-abc`,
 * `-n5`, and `--`, after which nothing is a flag. What looks like a number becomes one, unless `string` lists its flag.
 * @throws Error where a key is given both as a value and as a group (`--a 1 --a.b 2`), or is `__proto__`
 */
export function parseArgs(args: readonly string[], options: ParseOptions = {}): Args {
  const names = (list: boolean | string | readonly string[] | undefined) =>
    new Set([typeof list === "boolean" ? [] : (list ?? [])].flat().flatMap((key) => [key, ...aliases(key)]));
  const groups = Object.entries(options.alias ?? {}).map(([key, other]) => [key, other].flat());
  const aliases = (key: string) => groups.find((group) => group.includes(key))?.filter((name) => name !== key) ?? [];
  const [booleans, strings, collected] = [names(options.boolean), names(options.string), names(options.collect)];
  const negatable = names(options.negatable);
  const known = new Set([...booleans, ...strings, ...collected, ...negatable, ...groups.flat()]);
  for (const key of Object.keys(options.default ?? {})) known.add(key);

  const result: Args = { _: [] };
  const given = new Set<string>();
  const number = (key: string, value: unknown) =>
    typeof value === "string" && !strings.has(key) && NUMBER.test(value) ? Number(value) : value;
  const set = (key: string, value: unknown, arg: string) => {
    if (!known.has(key) && options.unknown?.(arg, key, value) === false) return;
    for (const name of [key, ...aliases(key)]) {
      setNested(result, name, number(key, value), collected.has(name));
      given.add(name);
    }
  };
  const isValue = (next: string | undefined): next is string =>
    next !== undefined && (!next.startsWith("-") || next === "-" || NUMBER.test(next));
  /** Whether `next` is this flag's value; a boolean takes only the words true and false. */
  const takes = (key: string, next: string | undefined, all: boolean): next is string =>
    booleans.has(key) || all ? next === "true" || next === "false" : isValue(next);
  const boolean = (key: string, text: string, all = false) => (booleans.has(key) || all ? text !== "false" : text);

  const end = args.indexOf("--");
  const rest = end < 0 ? [] : args.slice(end + 1);
  const words = end < 0 ? args : args.slice(0, end);
  const addWord = (word: string) => {
    if (options.unknown?.(word) !== false) result._.push(number("_", word) as string | number);
  };
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    const long = FLAG.exec(word)?.groups;
    const short = long ? undefined : LETTERS.exec(word)?.groups;
    if (long) {
      const key = long.key!;
      const next = words[i + 1];
      const all = options.boolean === true;
      if (long.value !== undefined) set(key, boolean(key, long.value), word);
      else if (key.startsWith("no-") && negatable.has(key.slice(3))) set(key.slice(3), false, word);
      else if (takes(key, next, all)) set(key, boolean(key, words[++i]!, all), word);
      else set(key, strings.has(key) ? "" : true, word);
    } else if (short) {
      const letters = [...short.letters!];
      const last = letters.pop()!;
      for (const letter of letters) set(letter, strings.has(letter) ? "" : true, word);
      const value = short.value ?? short.glued;
      if (value !== undefined) set(last, boolean(last, value), word);
      else if (takes(last, words[i + 1], false)) set(last, boolean(last, words[++i]!), word);
      else set(last, strings.has(last) ? "" : true, word);
    } else {
      addWord(word);
      if (options.stopEarly) {
        result._.push(...words.slice(i + 1));
        break;
      }
    }
  }

  for (const [key, value] of Object.entries(options.default ?? {}))
    for (const name of [key, ...aliases(key)]) if (!given.has(name)) setDefault(result, name, value, given);
  for (const key of booleans) if (!hasNested(result, key)) setNested(result, key, false, false);
  for (const key of collected) if (!hasNested(result, key)) setNested(result, key, [], false);
  if (options["--"]) result["--"] = rest;
  else for (const word of rest) addWord(word);
  return result;
}

/** The object that holds the last part of a dotted key, and that part; groups are made where they are missing. */
function parentOf(object: Nested, dotted: string): [Nested, string] {
  const parts = dotted.split(".");
  const last = parts.pop()!;
  for (const part of [...parts, last])
    if (part === "__proto__" || part === "") throw new Error(`--${dotted}: ${JSON.stringify(part)} cannot be a key`);
  let group = object;
  for (const part of parts) {
    if (!Object.hasOwn(group, part)) group[part] = {};
    const next = group[part];
    if (typeof next !== "object" || next === null)
      throw new Error(`--${dotted}: ${part} has already been given the value ${next}, so it cannot hold keys`);
    group = next as Nested;
  }
  return [group, last];
}

function setNested(object: Nested, dotted: string, value: unknown, collect: boolean): void {
  const [group, key] = parentOf(object, dotted);
  if (!collect) group[key] = value;
  else if (Array.isArray(group[key])) group[key].push(value);
  else group[key] = [value];
}

function hasNested(object: Nested, dotted: string): boolean {
  const [group, key] = parentOf(object, dotted);
  return Object.hasOwn(group, key);
}

/** A default may be a group (`{ train: { steps: 3 } }`): then each key of it that is not given is set. */
function setDefault(object: Nested, dotted: string, value: unknown, given: ReadonlySet<string>): void {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    for (const [key, inner] of Object.entries(value)) setDefault(object, `${dotted}.${key}`, inner, given);
  else if (!given.has(dotted) && !hasNested(object, dotted)) setNested(object, dotted, value, false);
}
