import type { Program } from "../framework/device/program.ts";
import { CausalLM, manualSeed, type optim, presets } from "../framework/index.ts";
import { gpu } from "../framework/tensor/engine.ts";
import { printTable, type Row } from "./table.ts";

export interface DecodeOptions {
  preset: string;
  precision: optim.Precision;
  /** Numbers of prompts that are continued together. */
  streams: number[];
  /** Tokens of a prompt, and tokens made after it. */
  length: number;
  tokens: number;
}

/** Continues random prompts with a random model, a row of the table for each number of streams. */
export async function benchDecode(options: DecodeOptions, say: (line: string) => void): Promise<Row[]> {
  const { preset, precision, streams, length, tokens } = options;
  manualSeed(1);
  const model = new CausalLM(presets[preset]);
  if (precision === "f16") model.half();
  const rows: Row[] = [];
  for (const count of streams) {
    await measure(model, count, length, Math.min(tokens, 8)); // compiles
    const runs = [];
    for (let i = 0; i < 3; i++) runs.push(await measure(model, count, length, tokens));
    const best = runs.sort((a, b) => b["tokens/s"] - a["tokens/s"])[0];
    rows.push({ name: `${preset}, ${precision}, ${count} × ${length} + ${tokens}`, ...best });
  }
  printTable(rows, say);
  say(
    "ms: of a step, which makes a token of each stream. first: to the first token, the prompts' pass included. script: JavaScript of a step.",
  );
  model.dispose();
  return rows;
}

async function measure(model: CausalLM, streams: number, length: number, tokens: number) {
  const device = gpu();
  const row = (b: number) => Array.from({ length }, (_, i) => (i * 31 + b * 17) % model.config.vocab_size);
  const prompts = Array.from({ length: streams }, (_, b) => row(b));
  const options = { maxNewTokens: tokens, temperature: 0.8, topP: 0.9, seed: 1 };
  let [script, steps, launched] = [0, 0, 0];
  const { replay } = device;
  device.replay = (program: Program) => {
    const [start, before] = [performance.now(), device.stats.dispatches];
    replay.call(device, program);
    script += performance.now() - start;
    launched = device.stats.dispatches - before;
    steps++;
  };
  const start = performance.now();
  let [first, made] = [0, 0];
  for await (const _ of model.generateBatch(prompts, options)) if (++made === streams) first = performance.now();
  const end = performance.now();
  device.replay = replay;
  return {
    ms: (end - first) / (tokens - 1),
    "tokens/s": ((made - streams) / (end - first)) * 1000,
    "prefill/s": ((streams * length) / (first - start)) * 1000,
    "first ms": first - start,
    dispatches: launched,
    "script ms": script / Math.max(steps, 1),
  };
}
