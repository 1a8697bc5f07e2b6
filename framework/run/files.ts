/** Config files and presets: JSONC in, checked values out. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { parse } from "@std/jsonc";
import { ConfigError } from "./errors.ts";
import { fromJson, type Key, nearest, unknownKey, type Value, wrongValue } from "./schema.ts";

/**
 * The values of a JSONC file under their dotted names.
 * @throws ConfigError that begins with the file's name: unreadable, not JSONC (line and column), an unknown key, a wrong type
 */
export function readValues(file: string, keys: ReadonlyMap<string, Key>, missing = "no such file"): Map<string, Value> {
  const values = new Map<string, Value>();
  const walk = (group: object, prefix: string) => {
    for (const [name, value] of Object.entries(group)) {
      const path = prefix + name;
      const key = keys.get(path);
      const isGroup = [...keys.keys()].some((known) => known.startsWith(`${path}.`));
      if (key) {
        const checked = fromJson(key, value);
        if (checked === undefined) throw new ConfigError(`${file}: ${path} ${wrongValue(value, key)}`);
        values.set(path, checked);
      } else if (!isGroup) throw new ConfigError(`${file}: ${unknownKey(path, keys.keys())}`);
      else if (typeof value !== "object" || value === null || Array.isArray(value))
        throw new ConfigError(`${file}: ${path} is ${JSON.stringify(value)}, expected a group of keys: { … }`);
      else walk(value, `${path}.`);
    }
  };
  walk(readObject(file, missing), "");
  return values;
}

/** The values of some keys in another recipe's config, as far as it has them and they are allowed here; none where there is no file. */
export function pickValues(
  file: string,
  keys: ReadonlyMap<string, Key>,
  wanted: readonly string[],
): Map<string, Value> {
  const values = new Map<string, Value>();
  if (!existsSync(file)) return values;
  const config = readObject(file, "no such file");
  for (const path of wanted) {
    const value = path.split(".").reduce<unknown>((group, name) => (group as Record<string, unknown>)?.[name], config);
    const key = keys.get(path);
    const checked = key && value !== undefined ? fromJson(key, value) : undefined;
    if (checked !== undefined) values.set(path, checked);
  }
  return values;
}

function readObject(file: string, missing: string): object {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason = code === "ENOENT" ? missing : code === "EISDIR" ? "is a folder, expected a JSONC file" : message;
    throw new ConfigError(`${file}: ${reason}`, { cause: error });
  }
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw new ConfigError(`${file}: is not JSONC: ${(error as Error).message}`, { cause: error });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value;
  throw new ConfigError(
    `${file}: holds ${Array.isArray(value) ? "a list" : JSON.stringify(value)}, expected an object: { … }`,
  );
}

/** Names of the presets that a recipe can use: its own, then those for every recipe. */
export function presetsOf(folder: string, recipe: string): string[] {
  let files: string[] = [];
  try {
    files = readdirSync(folder).filter((name) => name.endsWith(".jsonc"));
  } catch {
    // No folder, no presets: what is asked for is then refused by name.
  }
  const names = files.map((name) => name.slice(0, -".jsonc".length)).sort();
  const own = names.filter((name) => name.startsWith(`${recipe}.`)).map((name) => name.slice(recipe.length + 1));
  return [...new Set([...own, ...names.filter((name) => !name.includes("."))])];
}

export function findPreset(folder: string, recipe: string, name: string): string {
  const known = presetsOf(folder, recipe);
  if (known.includes(name)) {
    const own = join(folder, `${recipe}.${name}.jsonc`);
    return statSync(own, { throwIfNoEntry: false }) ? own : join(folder, `${name}.jsonc`);
  }
  const near = nearest(name, known);
  const hint = near === undefined ? "" : `, did you mean ${near}?`;
  const file = /[/\\]|\.jsonc?$/.test(name) ? "; a file is given by --config" : "";
  const list = known.length > 0 ? `there are ${known.join(", ")}` : "there is none";
  throw new ConfigError(`--preset: ${JSON.stringify(name)} is not a preset of ${recipe}${hint}${file} (${list})`);
}
