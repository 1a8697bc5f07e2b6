import { unicodeWidth } from "@std/cli/unicode-width";
import type { Key, Value } from "./schema.ts";

export interface HelpOptions {
  recipe: string;
  keys: ReadonlyMap<string, Key>;
  /** What counts where nothing is given: the defaults, with the preset's values over them. */
  values: ReadonlyMap<string, Value>;
  preset: string | undefined;
  presets: readonly string[];
  about?: string;
  examples?: readonly string[];
  words?: string;
}

/** What `--help` prints: usage, every key with its default and its line, presets, examples. */
export function helpText(options: HelpOptions): string {
  const { recipe, keys, values, preset, presets, about, examples = [], words } = options;
  const command = `bun recipes/${recipe}.ts`;
  const resumable = keys.has("run.dir");
  const lines = [
    about === undefined ? recipe : `${recipe}: ${about}`,
    "",
    `Usage: ${command}${presets.length ? " [--preset name]" : ""} [--config file.jsonc]${resumable ? " [--resume [folder]]" : ""} [--key value …]${words === undefined ? "" : " [words …]"}`,
    "",
  ];
  const general: Row[] = [
    ...(presets.length ? [["--preset name", "", `values that go together: ${presets.join(", ")}`] satisfies Row] : []),
    ["--config file.jsonc", "", "your values; they count over the preset's, and flags over both"],
    ["--help", "", "this text"],
  ];
  if (resumable) general.splice(-1, 0, ["--resume [folder]", "", "go on with a run that was stopped or killed"]);
  if (words !== undefined) general.push(["words", "", words]);

  const groups = new Map<string, Row[]>();
  for (const [path, key] of keys) {
    const group = path.includes(".") ? path.slice(0, path.indexOf(".")) : "";
    const value = JSON.stringify(values.get(path));
    const help = key.choices ? `${key.help}: ${key.choices.join(", ")}` : key.help;
    groups.set(group, [...(groups.get(group) ?? []), [`--${path} ${placeholder(key)}`, value, help]]);
  }
  const rows = [general, ...groups.values()];
  const width = (column: 0 | 1) => Math.max(...rows.flat().map((row) => Math.min(unicodeWidth(row[column]), 34)));
  const [first, second] = [width(0), width(1)];
  const titles = ["", ...[...groups.keys()].map((group) => (group ? `${group}:` : "general:"))];
  rows.forEach((block, index) => {
    if (titles[index]) lines.push(titles[index]!);
    for (const [flag, value, help] of block)
      lines.push(`  ${pad(flag, first)}  ${pad(value, second)}  ${help}`.trimEnd());
    lines.push("");
  });
  if (preset !== undefined) lines.push(`The values shown are those of --preset ${preset}.`, "");
  if (examples.length > 0) lines.push("Examples:", ...examples.map((example) => `  ${example}`), "");
  return lines.join("\n");
}

type Row = [flag: string, value: string, help: string];

function placeholder(key: Key): string {
  if (key.type === "boolean") return "[true|false]";
  return key.choices ? "word" : key.type === "list" ? "text …" : key.type;
}

const pad = (text: string, width: number) => text + " ".repeat(Math.max(0, width - unicodeWidth(text)));
