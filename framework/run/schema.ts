/** What a recipe's config may hold: every key with its default, its one line of help and its rules. */

export type Value = number | string | boolean | string[] | null;

interface Types {
  number: number;
  text: string;
  boolean: boolean;
  list: string[];
}

/** One key of a config. Made by {@link key} and {@link count}. */
export interface Key<T extends Value = Value> extends Rules {
  readonly kind: "key";
  readonly type: keyof Types;
  readonly default: T;
  readonly help: string;
}

interface Rules {
  /** The words allowed. */
  readonly choices?: readonly string[];
  /** Smallest and largest number allowed. */
  readonly min?: number;
  readonly max?: number;
  /** Only whole numbers. */
  readonly whole?: boolean;
}

/** Keys in groups, as deep as wanted. */
export interface Schema {
  readonly [name: string]: Key | Schema;
}

/** The config that a schema describes: `key(128, "…")` becomes `number`. */
export type ConfigOf<S> = { -readonly [K in keyof S]: S[K] extends Key<infer T> ? T : ConfigOf<S[K]> };

type Widen<T> = T extends number ? number : T extends string ? string : T extends boolean ? boolean : string[];

/**
 * A key of a config: its default, from which its type follows, and its help.
 * ```ts
 * seqLen: key(128, "tokens per row", { min: 2, whole: true })
 * schedule: key("cosine", "how the rate falls", { choices: ["cosine", "linear"] })
 * prompts: key(["Once"], "openings to continue")
 * ropeTheta: key(null, "base of the rotary angles", { type: "number" })   // number | null
 * ```
 * @throws Error where the default breaks the key's own rules
 */
export function key<T extends keyof Types>(value: null, help: string, rules: Rules & { type: T }): Key<Types[T] | null>;
export function key<const C extends string>(
  value: NoInfer<C>,
  help: string,
  rules: Rules & { choices: readonly C[] },
): Key<C>;
export function key<T extends number | string | boolean | string[]>(
  value: T,
  help: string,
  rules?: Rules,
): Key<Widen<T>>;
export function key(value: Value, help: string, rules: Rules & { type?: keyof Types } = {}): Key {
  const made: Key = { ...rules, kind: "key", type: rules.type ?? typeOf(value), default: value, help };
  if (fromJson(made, value) === undefined)
    throw new Error(`key: the default ${JSON.stringify(value)} (${help}) is not ${expected(made)}`);
  return made;
}

/** A key for a whole number, `min` or more. */
export function count(value: number, help: string, min = 1): Key<number> {
  return key(value, help, { whole: true, min });
}

function typeOf(value: Value): keyof Types {
  if (Array.isArray(value)) return "list";
  return typeof value === "string" ? "text" : typeof value === "number" ? "number" : "boolean";
}

/** What a key takes, in words. */
export function expected(key: Key): string {
  const or = key.default === null ? " or null" : "";
  if (key.choices) return `one of ${key.choices.join(", ")}${or}`;
  if (key.type === "text") return `text${or}`;
  if (key.type === "boolean") return `true or false${or}`;
  if (key.type === "list") return `a list of texts${or}`;
  const { min, max } = key;
  const noun = key.whole ? "a whole number" : "a number";
  const range =
    min !== undefined && max !== undefined
      ? ` from ${min} to ${max}`
      : min !== undefined
        ? `, ${min} or more`
        : max !== undefined
          ? `, ${max} or less`
          : "";
  return noun + range + or;
}

/** A value from a config file, checked; undefined where the key does not take it. */
export function fromJson(key: Key, value: unknown): Value | undefined {
  if (value === null) return key.default === null ? null : undefined;
  if (key.type === "list") {
    const fits = Array.isArray(value) && value.every((item) => typeof item === "string");
    return fits && value.every((item) => allowed(key, item)) ? [...value] : undefined;
  }
  if (key.type === "number") {
    const { min = -Infinity, max = Infinity, whole = false } = key;
    if (typeof value !== "number" || !Number.isFinite(value) || (whole && !Number.isSafeInteger(value)))
      return undefined;
    return value >= min && value <= max ? value : undefined;
  }
  if (key.type === "boolean") return typeof value === "boolean" ? value : undefined;
  return typeof value === "string" && allowed(key, value) ? value : undefined;
}

const allowed = (key: Key, word: string) => !key.choices || key.choices.includes(word);
const number = /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?$/i;

/** The words given to a flag, checked; one word except for a list. Undefined where the key does not take them. */
export function fromWords(key: Key, words: readonly string[]): Value | undefined {
  if (key.type === "list") return fromJson(key, words);
  const word = words.at(-1)!;
  if (word === "null" && key.default === null) return null;
  if (key.type === "number") return number.test(word) ? fromJson(key, Number(word)) : undefined;
  if (key.type === "boolean") return word === "true" ? true : word === "false" ? false : undefined;
  return fromJson(key, word);
}

export const isKey = (entry: Key | Schema): entry is Key => entry.kind === "key";

/** Every key of a schema under its dotted name, in order. */
export function flatten(schema: Schema, prefix = ""): Map<string, Key> {
  const keys = new Map<string, Key>();
  for (const [name, entry] of Object.entries(schema)) {
    if (isKey(entry)) keys.set(prefix + name, entry);
    else for (const [path, inner] of flatten(entry, `${prefix}${name}.`)) keys.set(path, inner);
  }
  return keys;
}

/** The name that a misspelt one is closest to, by edits; a dotted name is also tried by its last part. */
export function nearest(given: string, names: Iterable<string>): string | undefined {
  const last = (name: string) => name.slice(name.lastIndexOf(".") + 1);
  let best: string | undefined;
  let least = Infinity;
  for (const name of names) {
    const whole = edits(given.toLowerCase(), name.toLowerCase());
    const part = edits(last(given).toLowerCase(), last(name).toLowerCase()) + 0.5;
    const distance = Math.min(whole, part);
    if (distance < least) [best, least] = [name, distance];
  }
  return least <= Math.max(2, given.length / 2) ? best : undefined;
}

/** Letters added, left out, changed or swapped with their neighbour (optimal string alignment). */
export function edits(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) => [i, ...new Array<number>(b.length).fill(0)]);
  for (let j = 0; j <= b.length; j++) rows[0]![j] = j;
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++) {
      const change = a[i - 1] === b[j - 1] ? 0 : 1;
      rows[i]![j] = Math.min(rows[i - 1]![j]! + 1, rows[i]![j - 1]! + 1, rows[i - 1]![j - 1]! + change);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        rows[i]![j] = Math.min(rows[i]![j]!, rows[i - 2]![j - 2]! + 1);
    }
  return rows[a.length]![b.length]!;
}

/** The text for a key that does not exist, with the name that may have been meant. */
export function unknownKey(given: string, names: Iterable<string>): string {
  const near = nearest(given, names);
  return `unknown key ${JSON.stringify(given)}${near === undefined ? "; --help lists every key" : `, did you mean ${near}?`}`;
}

/** The text for a value that a key does not take. */
export function wrongValue(value: unknown, key: Key): string {
  const near = key.choices && typeof value === "string" ? nearest(value, key.choices) : undefined;
  const hint = near === undefined ? "" : `, did you mean ${near}?`;
  return `is ${JSON.stringify(value)}, expected ${expected(key)}${hint}`;
}
