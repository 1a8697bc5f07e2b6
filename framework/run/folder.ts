/** The run folder: who may write it, what it holds, and what becomes of a run that was there before. */
import * as fs from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { FileError, writeFileAtomic } from "../checkpoint/file.ts";
import { liveness, processTag, removeStale } from "../checkpoint/temporary.ts";
import { type Origin, origin } from "./config.ts";
import { ConfigError } from "./errors.ts";
import { isKey, type Schema } from "./schema.ts";

/** A config that has a run folder; `configure` makes it where the schema has `runKeys`. */
export interface RunConfig {
  run: { dir: string; overwrite: boolean };
  [origin]: Origin;
}

/** A folder that this process writes until it gives it back. */
export interface RunFolder {
  /** Removes what an overwritten run left; to be called when the new one is sure to start. */
  begin(): void;
  /** Gives the folder back. A run that was moved aside for one that never began returns to its place. */
  release(): void;
}

const lockFile = ".running";
/** What shows that a folder holds a run, and goes when it is overwritten. */
const traces = ["metrics.jsonl", "samples.md", "curve.svg", "model.safetensors", "adapter_model.safetensors", "state"];

/**
 * Takes the run's folder. One that holds another run is not touched: where the user named the folder, that is an error, and where
 * it is the recipe's own default, the old run is moved to `out/pretrain.1` and `print` says so. `run.overwrite` replaces it,
 * and a resumed run goes on in it.
 * @throws FileError where it holds another run, another process is writing it, or it is not a folder
 */
export function takeFolder(config: RunConfig, print: (text: string) => void): RunFolder {
  const { dir, overwrite } = config.run;
  const { named, resume } = config[origin];
  if (dir.trim() === "") throw new ConfigError("--run.dir is empty, expected a folder's name");
  let moved: string | undefined;
  const status = fs.statSync(dir, { throwIfNoEntry: false });
  if (status && !status.isDirectory())
    throw new FileError(dir, "is a file, expected a folder or nothing there; choose another --run.dir");
  if (status) {
    refuseRunning(dir);
    if (resume === undefined && !overwrite && holdsRun(dir)) {
      if (named)
        throw new FileError(
          dir,
          `holds another run; go on with it (--resume ${dir}), delete it (--run.overwrite true), or choose another folder (--run.dir)`,
        );
      moved = freeName(dir);
      fs.renameSync(dir, moved);
      print(`${dir} held another run: it is now ${moved}`);
    }
  }
  fs.mkdirSync(dir, { recursive: true });
  removeStale(dir);
  writeFileAtomic(join(dir, lockFile), processTag());
  let begun = false;
  let held = true;
  const release = () => {
    if (!held) return;
    held = false;
    process.off("exit", release);
    fs.rmSync(join(dir, lockFile), { force: true });
    if (begun || moved === undefined) return;
    fs.rmSync(dir, { recursive: true, force: true }); // made after the old run was moved: what it holds is from a run that never began
    fs.renameSync(moved, dir);
  };
  process.on("exit", release);
  return {
    begin() {
      begun = true;
      if (resume === undefined) for (const name of traces) fs.rmSync(join(dir, name), { recursive: true, force: true });
    },
    release,
  };
}

function refuseRunning(dir: string): void {
  let tag: string;
  try {
    tag = fs.readFileSync(join(dir, lockFile), "utf8");
  } catch {
    return;
  }
  // On another machine, or in a container that is gone, it cannot be seen; a run that was moved there must be able to go on.
  if (liveness(tag) !== "alive") return;
  const who = tag === processTag() ? "this process" : `process ${tag.split("-")[1]}`;
  throw new FileError(dir, `${who} is writing a run here; wait for it, stop it, or choose another folder (--run.dir)`);
}

function holdsRun(dir: string): boolean {
  return traces.some((name) => {
    const status = fs.statSync(join(dir, name), { throwIfNoEntry: false });
    return (
      status !== undefined && (status.isDirectory() ? fs.readdirSync(join(dir, name)).length > 0 : status.size > 0)
    );
  });
}

function freeName(dir: string): string {
  const plain = dir.replace(/[/\\]+$/, "");
  for (let number = 1; ; number++) if (!fs.existsSync(`${plain}.${number}`)) return `${plain}.${number}`;
}

/** A config as JSONC: the command line that gave it, and each key with its help. It can be given to `--config` again. */
export function configText(config: RunConfig): string {
  const { command, preset, schema } = config[origin];
  const lines = [`// ${command.replaceAll("\n", " ")}`];
  if (preset !== undefined) lines.push(`// with the values of --preset ${preset}`);
  const walk = (schema: Schema, values: Record<string, unknown>, indent: string) => {
    const entries = Object.entries(schema);
    entries.forEach(([name, entry], index) => {
      const comma = index < entries.length - 1 ? "," : "";
      const start = `${indent}${JSON.stringify(name)}: `;
      if (isKey(entry))
        lines.push(`${start}${JSON.stringify(values[name])}${comma} // ${entry.help.replaceAll("\n", " ")}`);
      else {
        lines.push(`${start}{`);
        walk(entry, values[name] as Record<string, unknown>, `${indent}  `);
        lines.push(`${indent}}${comma}`);
      }
    });
  };
  lines.push("{");
  walk(schema, config as unknown as Record<string, unknown>, "  ");
  return `${[...lines, "}"].join("\n")}\n`;
}

/** What a model wrote on after a prompt. */
export interface Sample {
  prompt: string;
  text: string;
}

/** Adds a section to samples.md: the prompts in bold, each with what followed. */
export function addSamples(file: string, step: number, samples: readonly Sample[]): void {
  const quote = (text: string) => text.replace(/[\\`*_<[\]]/g, "\\$&").replace(/\r?\n|\r/g, "\n> ");
  const bold = (text: string) => (text.trim() === "" ? quote(text) : `**${quote(text)}**`);
  const blocks = samples.map(({ prompt, text }) => `> ${bold(prompt)}${quote(text)}\n`);
  writeFileAtomic(file, `${[samplesUpTo(file, step - 1), `## Step ${step}\n`, ...blocks].join("\n")}`);
}

/** The text of samples.md up to a step, the title where there is no file yet. */
export function samplesUpTo(file: string, step: number): string {
  if (!fs.existsSync(file)) return `# Samples of ${basename(join(file, ".."))}\n`;
  const [title, ...sections] = fs.readFileSync(file, "utf8").split(/^(?=## Step )/m);
  return [title, ...sections.filter((text) => Number(/\d+/.exec(text)?.[0]) <= step)].join("");
}
