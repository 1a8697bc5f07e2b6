/** A recipe's config: defaults, then a preset, then a file, then flags. Every key is checked by name and by type. */
import { join, resolve } from "node:path";
import process from "node:process";
import { ConfigError, Exit } from "./errors.ts";
import { findPreset, pickValues, presetsOf, readValues } from "./files.ts";
import { checkFlags, type Flags, readFlags } from "./flags.ts";
import { helpText } from "./help.ts";
import { type ConfigOf, flatten, key, type Schema, type Value } from "./schema.ts";

export interface ConfigureOptions {
  /** What the recipe does, in a sentence; the first line of `--help`. */
  about?: string;
  /** Command lines for `--help`. */
  examples?: readonly string[];
  /** The preset that counts where none is given. */
  preset?: string;
  /** What words without a flag mean; without it they are refused. They come as `config.words`. */
  words?: string;
  /** Keys whose values the run that `from` (or the key of `inheritFrom`) names hands on, where its folder has a config.jsonc: over defaults and presets, under files and flags. */
  inherit?: readonly string[];
  inheritFrom?: string;
  /** Keys and groups that a resumed run cannot change. Those that the schema does not have are no matter. */
  fixed?: readonly string[];
  /** Where presets lie: `<recipe>.<preset>.jsonc` or `<preset>.jsonc`. Default: recipes/config; empty: there are none. */
  presets?: string;
  /** The command line, default that of the process. */
  args?: readonly string[];
  /** Takes what `--help` prints, and notes. Default: standard output. */
  print?: (text: string) => unknown;
}

/** How a config came about; `Run.open` needs it. Stays on copies of the config, and out of its JSON. */
export const origin: unique symbol = Symbol("origin");

export interface Origin {
  recipe: string;
  schema: Schema;
  /** The preset whose values count, where there is one. */
  preset: string | undefined;
  /** The folder to go on from, where `--resume` was given. */
  resume: string | undefined;
  /** Whether the user named `run.dir`, by flag or file. */
  named: boolean;
  /** The command line that gives this config. */
  command: string;
}

export type Config<S> = ConfigOf<S> & {
  /** Words of the command line that belong to no flag. */
  words: string[];
  [origin]: Origin;
};

const presetsFolder = join(import.meta.dirname, "../../recipes/config");
const fixedByDefault = ["model", "data.seqLen", "data.packing", "train.batchSize", "train.accumulate", "seed"];

/**
 * The config of a recipe, from its schema and the command line. The schema is the recipe's list of keys, each with default and help:
 * ```ts
 * const config = configure("pretrain", {
 *   data: { path: key("", "JSONL, text, .gz, folder or glob"), seqLen: count(128, "tokens per row") },
 *   train: { learningRate: key(5e-4, "at the peak", { min: 0 }) },
 *   run: runKeys("out/pretrain"),
 * });
 * config.train.learningRate; // number
 * ```
 * Later counts more: defaults, `--preset name`, `--config file.jsonc`, `--data.path value`. Booleans are set by `--data.shuffle`,
 * `--data.shuffle false` or `--no-data.shuffle`; lists by giving the flag several times, and emptied by `--no-`.
 *
 * `--resume [folder]` (for a schema with {@link runKeys}) starts from the config that the folder's run was started with, and only flags count over it.
 * @throws ConfigError that names the flag, or the file, and the key; Exit after `--help`
 */
export function configure<S extends Schema>(recipe: string, schema: S, options: ConfigureOptions = {}): Config<S> {
  const { print = (text: string): unknown => process.stdout.write(text) } = options;
  const { args = process.argv.slice(2), presets = presetsFolder } = options;
  const keys = flatten(schema);
  const values = new Map([...keys].map(([path, { default: value }]) => [path, value]));
  const flags = readFlags(args, keys, { resumable: keys.has("run.dir"), words: options.words !== undefined });
  const usePreset = (name: string) => layer(values, readValues(findPreset(presets, recipe, name), keys));

  if (flags.help) {
    const preset = flags.preset ?? options.preset;
    if (preset !== undefined) usePreset(preset);
    print(helpText({ ...options, recipe, keys, values, preset, presets: presetsOf(presets, recipe) }));
    throw new Exit(0);
  }

  const given = checkFlags(flags, keys);
  let preset = flags.preset ?? options.preset;
  let resume: string | undefined;
  let named = given.has("run.dir");
  if (flags.resume === undefined) {
    if (preset !== undefined) usePreset(preset);
    const file = flags.config === undefined ? undefined : readValues(flags.config, keys);
    named ||= file?.has("run.dir") ?? false;
    const { inheritFrom = "from" } = options;
    const from = given.get(inheritFrom) ?? file?.get(inheritFrom) ?? values.get(inheritFrom);
    if (options.inherit && typeof from === "string")
      layer(values, pickValues(join(from, "config.jsonc"), keys, options.inherit));
    layer(values, file);
  } else {
    resume = resumeFolder(flags, given, values);
    const file = join(resume, "config.jsonc");
    layer(values, readValues(file, keys, noRun(resume)));
    values.set("run.dir", resume);
    values.set("run.overwrite", false);
    refuseChanges(given, values, file, options.fixed ?? fixedByDefault);
    if (flags.preset !== undefined || flags.config !== undefined)
      print(`${resume} goes on with its own config.jsonc: --preset and --config are not read again\n`);
    preset = undefined;
    named = true;
  }
  layer(values, given);
  if (keys.has("run.dir")) values.set("run.dir", filled(values.get("run.dir") as string, values));
  const command = ["bun", `recipes/${recipe}.ts`, ...args].map(quoted).join(" ");
  const made = { ...nest(schema, values), words: flags.words };
  return { ...made, [origin]: { recipe, schema, preset, resume, named, command } } as Config<S>;
}

/** `{key}` in the name of a folder stands for that key's value: `out/lora/{lora.name}`. */
const filled = (folder: string, values: ReadonlyMap<string, Value>) =>
  folder.replace(/\{([\w.]+)\}/g, (braces, path) => `${values.get(path) ?? braces}`);

/** The keys of a recipe that writes a run folder: `run: runKeys("out/pretrain")`. With them `--resume` is a flag. */
export const runKeys = (dir: string) => ({
  dir: key(dir, "folder that the run writes"),
  overwrite: key(false, "delete the run that the folder holds"),
});

function layer(values: Map<string, Value>, over: Map<string, Value> | undefined): void {
  for (const [path, value] of over ?? []) values.set(path, value);
}

function nest(schema: Schema, values: ReadonlyMap<string, Value>, prefix = ""): Record<string, unknown> {
  const entries = Object.entries(schema).map(([name, entry]) => {
    const path = prefix + name;
    return [name, values.has(path) ? values.get(path) : nest(entry as Schema, values, `${path}.`)];
  });
  return Object.fromEntries(entries);
}

const quoted = (word: string) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function resumeFolder(flags: Flags, given: ReadonlyMap<string, Value>, values: ReadonlyMap<string, Value>): string {
  const dir = given.get("run.dir") as string | undefined;
  const standing = dir ?? filled(values.get("run.dir") as string, new Map([...values, ...given]));
  const folder = typeof flags.resume === "string" ? flags.resume : standing;
  if (dir !== undefined && resolve(dir) !== resolve(folder))
    throw new ConfigError(
      `--resume: ${folder} and --run.dir ${dir} are two folders; a run goes on in its own, give one`,
    );
  if (given.get("run.overwrite") === true)
    throw new ConfigError("--resume: goes on with a run, --run.overwrite deletes it; give one of the two");
  return folder;
}

const noRun = (folder: string) =>
  `no such file: ${folder} holds no run to go on with; leave --resume out, or name the run's folder: --resume out/name`;

/** Keys without which the run would not be the one that it was, bit for bit, keep their values. */
function refuseChanges(
  given: ReadonlyMap<string, Value>,
  stored: ReadonlyMap<string, Value>,
  file: string,
  fixed: readonly string[],
): void {
  for (const [path, value] of given) {
    const old = stored.get(path);
    if (path.startsWith("run.") || JSON.stringify(old) === JSON.stringify(value)) continue;
    if (fixed.some((name) => path === name || path.startsWith(`${name}.`)))
      throw new ConfigError(
        `--${path}: is ${JSON.stringify(value)}, but the run to resume has ${JSON.stringify(old)} (${file}), and a run cannot change it; ` +
          `leave the flag out, or start a new run in another folder: --run.dir out/name`,
      );
  }
}
