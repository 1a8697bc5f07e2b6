/**
 * Measures kernels, a training step, generation, or the engine's steadiness on this machine's adapter.
 *   bun bench [name ...] [--json] [--step] [--decode] [--soak] [--peers] [--tune]
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "@std/cli/parse-args";
import { summary } from "../framework/device/open.ts";
import { init, optim, shutdown } from "../framework/index.ts";
import { measureRates } from "../framework/ops/measure.ts";
import type { KernelCase } from "./case.ts";
import { benchDecode } from "./decode.ts";
import { dryGpu } from "./dryDevice.ts";
import { measureCase } from "./kernel.ts";
import { planMemory, printPlan } from "./memory.ts";
import { compare, refuse } from "./peers/index.ts";
import { soak } from "./soak.ts";
import { profileStep } from "./step.ts";
import { printTable, type Row } from "./table.ts";
import { casesToTune, explore, stepLaunches } from "./tune.ts";

const help = `Measures kernels on this machine's adapter.

  bun bench                 all benches
  bun bench matmul rope     those whose name holds one of the words
  bun bench --step          a training step, kernel by kernel: --preset tiny --batch 8 --length 128 --precision f16
  bun bench --decode        tokens per second in generation: --preset tiny --streams 1,8,64 --length 128 --tokens 128
  bun bench --memory        what a training step holds on the device, by kind; computes nothing, so any machine can tell:
                            --preset micromind-26m --batch 32 --length 512 --checkpointing
  bun bench --peers         the same training steps, attention and decoding by jax-js and TensorFlow.js;
                            --peers ours,jax-wasm --sizes S1,S2,S3,attention,decode --budget 60 (seconds each) choose
  bun bench --tune [name ...]  tries every tuning, prints the winners and keeps them for this adapter; with --step the kernels
                            of a training step (--preset, --batch, --length), --budget seconds for each case, --dry keeps nothing
  bun bench --soak [steps]  2,000 training steps: memory and live handles must stay flat
  bun bench --json          the last line only: one JSON object
  bun bench --list          names of the benches

Times are medians of device time where the adapter has timestamps, else of wall time. "best" is the share of what the
adapter reaches at best here, in matrix multiplication or in moving memory, whichever bounds the kernel.
DEBUG=2 prints the WGSL of every kernel.`;

const args = parseArgs(process.argv.slice(2), {
  boolean: ["json", "step", "decode", "help", "list", "soak", "memory", "checkpointing", "tune", "dry"],
  string: ["preset", "batch", "length", "streams", "tokens", "peers", "sizes", "budget", "precision"],
  default: {
    ...{ preset: "tiny", batch: "8", length: "128", streams: "1,8,64", tokens: "128", precision: "f32" },
    ...{ sizes: "", budget: "120" },
  },
}) as unknown as {
  _: (string | number)[];
  json: boolean;
  step: boolean;
  decode: boolean;
  help: boolean;
  list: boolean;
  soak: boolean;
  memory: boolean;
  checkpointing: boolean;
  tune: boolean;
  dry: boolean;
  preset: string;
  batch: string;
  length: string;
  precision: optim.Precision;
  peers?: string;
  sizes: string;
  budget: string;
  streams: string;
  tokens: string;
};

const here = import.meta.dirname;
const files = readdirSync(here, { recursive: true })
  .map(String)
  .filter((f) => f.endsWith(".bench.ts") && !f.includes("peers"))
  .sort();
const wanted = args._.map(String);
const chosen = files.filter(
  (f) => wanted.length === 0 || wanted.some((w) => f.toLowerCase().includes(w.toLowerCase())),
);

if (args.help) {
  console.log(help);
  process.exit(0);
}
if (args.list) {
  console.log(files.map((f) => f.replace(".bench.ts", "")).join("\n"));
  process.exit(0);
}
if (wanted.length && chosen.length === 0 && !args.step && !args.decode && !args.soak) {
  console.error(`bench: nothing is called ${wanted.join(" or ")}; bun bench --list shows what there is`);
  process.exit(2);
}
const say = (line: string) => {
  if (!args.json) console.log(line);
};
if (args.peers !== undefined) {
  const names = (list: string) => list.split(",").filter(Boolean);
  const options = { peers: names(args.peers), sizes: names(args.sizes), budget: Number(args.budget) };
  const problem = refuse(options);
  if (problem) {
    console.error(problem);
    process.exit(2);
  }
  console.log(JSON.stringify({ rows: await compare(options, say) }));
  process.exit(0);
}
if (!optim.precisions.includes(args.precision)) {
  console.error(`bench --precision: ${args.precision} is none of ${optim.precisions.join(", ")}`);
  process.exit(2);
}
const { preset, precision } = args;
const stepOptions = { preset, precision, batch: Number(args.batch), length: Number(args.length) };
if (args.memory) {
  const options = { ...stepOptions, checkpointing: args.checkpointing };
  const plan = await planMemory(dryGpu(), options);
  printPlan(options, plan, say);
  console.log(JSON.stringify({ ...options, ...plan }));
  process.exit(0);
}

const gpu = await init();
say(summary(gpu));

if (args.soak) {
  const result = await soak(Number(wanted[0] ?? 2000), say);
  console.log(JSON.stringify(result));
  shutdown();
  process.exit(result.flat ? 0 : 1);
}

if (args.decode) {
  const streams = args.streams.split(",").map(Number);
  const options = { preset: args.preset, streams, length: Number(args.length), tokens: Number(args.tokens) };
  const rows = await benchDecode(options, say);
  console.log(JSON.stringify({ adapter: gpu.name, rows }));
  shutdown();
  process.exit(0);
}

const isHardware = gpu.target.class !== "software";
const casesOf = async (file: string): Promise<KernelCase[] | (() => Promise<Row[]>)> => {
  const { default: bench } = (await import(join(here, file))) as { default: KernelCase[] | (() => Promise<Row[]>) };
  return typeof bench === "function" ? bench : bench.filter(({ heavy }) => isHardware || !heavy);
};

if (args.tune) {
  const lists = args.step ? [] : await Promise.all(chosen.map(casesOf));
  const cases = lists.flatMap((list) => (typeof list === "function" ? [] : list));
  const launches = args.step ? await stepLaunches(stepOptions) : casesToTune(cases, gpu.target);
  const rows = await explore(launches, { budgetMs: 1000 * Number(args.budget), keep: !args.dry }, say);
  console.log(JSON.stringify({ adapter: gpu.name, rows }));
  shutdown();
  process.exit(0);
}

const rates = await measureRates({ bytes: true });
say(
  `best here: ${(rates.flops / 1e9).toFixed(1)} GFLOP/s (matmul, f32), ${(rates.bytes / 1e9).toFixed(1)} GB/s (addition)\n`,
);

if (args.step) {
  const result = await profileStep(stepOptions, rates, say);
  console.log(JSON.stringify({ adapter: gpu.name, ...result }));
} else {
  const rows: Row[] = [];
  for (const file of chosen) {
    const bench = await casesOf(file);
    const own = typeof bench === "function" ? await bench() : await measureAll(bench);
    rows.push(...own);
    if (!args.json) printTable(own);
  }
  console.log(JSON.stringify({ adapter: gpu.name, rates, rows }));
}
shutdown();
process.exit(0);

async function measureAll(cases: KernelCase[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const item of cases) rows.push(await measureCase(gpu, item, rates));
  return rows;
}
