import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const root = join(import.meta.dir, "../..");

/** A folder for the runs of these tests; files that share a process share it. */
export const home = mkdtempSync(join(tmpdir(), "micromind-recipes-"));
process.on("exit", () => rmSync(home, { recursive: true, force: true }));
const data = join(home, "small.jsonl");
const texts = Array.from(
  { length: 80 },
  (_, i) => `${"The quick brown fox jumps over the lazy dog. ".repeat((i % 3) + 1)}敏捷的狐狸 ${i * 7}。`,
);
writeFileSync(data, texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));

export interface Ran {
  code: number;
  /** What it printed, stdout and stderr. */
  text: string;
}

function spawn(script: string, args: readonly string[], env: Record<string, string> = {}, stdin = "") {
  return Bun.spawn(["bun", join(root, "recipes", script), ...args], {
    cwd: home,
    stdin: new TextEncoder().encode(stdin),
    stdout: "pipe",
    stderr: "pipe",
    env: { ...process.env, MICROMIND_CACHE: join(home, "cache"), ...env },
  });
}

/** Runs a recipe to its end. */
export async function recipe(
  script: string,
  args: readonly string[],
  env?: Record<string, string>,
  stdin?: string,
): Promise<Ran> {
  const child = spawn(script, args, env, stdin);
  const [out, error] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, text: out + error };
}

/** Flags of a run that takes a second: a model of 30,000 parameters on 80 short texts. */
export function small(dir: string, ...more: string[]): string[] {
  const flags: Record<string, string | number> = {
    "data.path": data,
    "data.seqLen": 32,
    "tokenizer.vocabSize": 320,
    "model.hidden_size": 32,
    "model.num_hidden_layers": 2,
    "model.num_attention_heads": 2,
    "model.num_key_value_heads": 1,
    "model.intermediate_size": 64,
    "train.batchSize": 2,
    "train.steps": 16,
    "train.warmup": 4,
    "train.learningRate": 0.01,
    "eval.every": 8,
    "eval.batches": 2,
    "sample.every": 0,
    "sample.tokens": 4,
    "sample.prompts": "The",
    "save.every": 4,
    "run.dir": join(home, dir),
  };
  return [...Object.entries(flags).flatMap(([key, value]) => [`--${key}`, String(value)]), ...more];
}

/** Runs until its metrics reach a step, then sends a signal. */
export async function interrupted(
  args: readonly string[],
  dir: string,
  step: number,
  signal: "SIGKILL" | "SIGINT",
  script = "pretrain.ts",
): Promise<Ran> {
  const child = spawn(script, args);
  const output = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  while (child.exitCode === null && lastStep(dir) < step) await Bun.sleep(2);
  child.kill(signal);
  const code = await child.exited;
  return { code, text: (await output).join("") };
}

function lastStep(dir: string): number {
  try {
    return metrics(dir).at(-1)?.step ?? 0;
  } catch {
    return 0;
  }
}

export type Line = { step: number; loss: number | null } & Record<string, number | null>;

/** The lines of a run's metrics.jsonl. */
export function metrics(dir: string): Line[] {
  const lines = readFileSync(join(home, dir, "metrics.jsonl"), "utf8").split("\n");
  return lines.filter((line) => line.endsWith("}")).map((line) => JSON.parse(line) as Line);
}

/** What a resumed run must give as the uninterrupted one does: every step's loss, norm and rate. */
export function curve(dir: string): string[] {
  return metrics(dir).map(({ step, loss, gradNorm, learningRate, valLoss }) =>
    JSON.stringify({ step, loss, gradNorm, learningRate, valLoss }),
  );
}

export const bytesOf = (dir: string, name: string): string => readFileSync(join(home, dir, name)).toString("base64");
