import { parseArgs } from "@std/cli/parse-args";
import { ConfigError } from "./errors.ts";
import { expected, fromWords, type Key, unknownKey, type Value, wrongValue } from "./schema.ts";

/** A command line, taken apart but with its values not yet checked. */
export interface Flags {
  help: boolean;
  preset: string | undefined;
  config: string | undefined;
  /** The folder, or true where `--resume` stands alone. */
  resume: string | true | undefined;
  /** By key: the words given, undefined for a flag without one, and whether it was `--no-key`. */
  keys: Map<string, { words: (string | undefined)[]; no: boolean }>;
  /** Words that belong to no flag. */
  words: string[];
}

/**
 * Takes a command line apart.
 * @param resumable whether `--resume` is a flag
 * @param words whether words without a flag are taken
 * @throws ConfigError for a flag or a word that the recipe does not take
 */
export function readFlags(
  args: readonly string[],
  keys: ReadonlyMap<string, Key>,
  { resumable, words }: { resumable: boolean; words: boolean },
): Flags {
  const flags: Flags = {
    help: false,
    preset: undefined,
    config: undefined,
    resume: undefined,
    keys: new Map(),
    words: [],
  };
  const names = ["help", "preset", "config", ...(resumable ? ["resume"] : []), ...keys.keys()];
  const file = (name: string, value: unknown) => {
    if (typeof value === "string" && value !== "") return value;
    throw new ConfigError(`--${name}: its value is missing, expected ${name === "preset" ? "a name" : "a file"}`);
  };
  const take = (arg: string, name: string, value: unknown) => {
    const word = typeof value === "string" ? value : undefined;
    const denied = name.startsWith("no-") && keys.has(name.slice(3)) && word === undefined;
    if (name === "help" || arg === "-h") flags.help = true;
    else if (!arg.startsWith("--"))
      throw new ConfigError(`${arg}: unknown flag; keys take two dashes: --train.steps 100`);
    else if (name === "preset") flags.preset = file(name, value);
    else if (name === "config") flags.config = file(name, value);
    else if (name === "resume" && resumable) flags.resume = word ?? true;
    else if (denied) flags.keys.set(name.slice(3), { words: [], no: true });
    else if (keys.has(name)) {
      const before = flags.keys.get(name);
      flags.keys.set(name, { words: [...(before?.words ?? []), word], no: false });
    } else throw new ConfigError(wrongFlag(name, names));
  };
  const stray = (word: string) => {
    if (!words)
      throw new ConfigError(`${JSON.stringify(word)}: a word without a flag; expected --key value, see --help`);
    flags.words.push(word);
  };
  // Every flag is unknown to parseArgs: so its words come here as they were typed, and one without a value can be told apart.
  parseArgs(args, {
    unknown(arg, name, value) {
      if (name === undefined) stray(arg);
      else take(arg, name, value);
      return false;
    },
  });
  return flags;
}

function wrongFlag(name: string, names: readonly string[]): string {
  const inner = names.filter((known) => known.startsWith(`${name}.`));
  if (inner.length > 0)
    return `--${name}: is a group of keys, expected one of them: ${inner.map((key) => `--${key}`).join(", ")}`;
  return `--${name}: ${unknownKey(name, names)}`;
}

/** The values of the key flags. */
export function checkFlags(flags: Flags, keys: ReadonlyMap<string, Key>): Map<string, Value> {
  const given = new Map<string, Value>();
  for (const [path, { words, no }] of flags.keys) {
    const key = keys.get(path)!;
    const where = `--${no ? "no-" : ""}${path}`;
    if (no) {
      const value = key.type === "boolean" ? false : key.type === "list" ? [] : key.default === null ? null : undefined;
      if (value === undefined)
        throw new ConfigError(`${where}: only true or false can be negated; expected --${path} ${expected(key)}`);
      given.set(path, value);
      continue;
    }
    if (words.includes(undefined) && key.type !== "boolean")
      throw new ConfigError(
        `${where}: its value is missing, expected ${expected(key)} (a value that begins with a dash: ${where}=-value)`,
      );
    const value = fromWords(
      key,
      words.map((word) => word ?? "true"),
    );
    if (value === undefined)
      throw new ConfigError(`${where} ${wrongValue(key.type === "list" ? words : words.at(-1), key)}`);
    given.set(path, value);
  }
  return given;
}
