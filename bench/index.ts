/**
 * Measures kernels, a training step, generation, or the engine's steadiness on this machine's adapter.
 *   bun bench [name ...] [--json] [--step] [--decode] [--soak] [--peers] [--tune] [--compile]
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { summary } from "../framework/device/open.ts";
import { init, shutdown } from "../framework/index.ts";
import { measureRates } from "../framework/ops/measure.ts";
import type { KernelCase } from "./case.ts";
import { compileAll } from "./compile.ts";
import { benchDecode } from "./decode.ts";
import { dryGpu } from "./dryDevice.ts";
import { measureCase } from "./kernel.ts";
import { planMemory, printPlan } from "./memory.ts";
import { parseOptions, UsageError } from "./options.ts";
import { compare, refuse } from "./peers/index.ts";
import { soak } from "./soak.ts";
import { profileStep } from "./step.ts";
import { printTable, type Row } from "./table.ts";
import { casesToTune, explore, stepLaunches } from "./tune.ts";

const help = `Measures kernels on this machine's adapter.

  bun bench                 all benches
  bun bench matmul rope     those whose name holds one of the words
  bun bench --step          a training step, kernel by kernel: --preset tiny --batch 8 --length 128 --precision f16 --checkpointing
  bun bench --decode        tokens per second in generation: --preset tiny --streams 1,8,64 --length 128 --tokens 128 --precision f16
  bun bench --memory        what a training step holds on the device, by kind; computes nothing, so any machine can tell:
                            --preset micromind-26m --batch 32 --length 512 --precision f16 --checkpointing
  bun bench --compile [name ...]  what Mesa's compilers make of the kernels for AMD's, NVIDIA's, Intel's and Apple's GPUs, without one: registers, spills;
                            and the JavaScript of a step; needs a C compiler and Vulkan's headers: --preset micromind-26m
  bun bench --peers         the same training steps, attention and decoding by jax-js and TensorFlow.js, decoding
                            by onnxruntime-web too;
                            --peers ours,jax-wasm --sizes S1,S2,S3,attention,decode,decode8 --budget 60 (seconds each) choose
  bun bench --tune [name ...]  tries every tuning, prints the winners and keeps them for this adapter; with --step the kernels
                            of a training step (--preset, --batch, --length), --budget seconds for each case, --dry keeps nothing
  bun bench --soak [steps]  2,000 training steps: memory and live handles must stay flat
  bun bench --json          the last line only: one JSON object
  bun bench --list          names of the benches

Times are medians of device time where the adapter has timestamps, else of wall time. "best" is the share of what the
adapter reaches at best here, in matrix multiplication or in moving memory, whichever bounds the kernel.
DEBUG=2 prints the WGSL of every kernel.`;

const options = usage(() => parseOptions(process.argv.slice(2)));
const { flags: args, step: stepOptions } = options;

const here = import.meta.dirname;
const files = readdirSync(here, { recursive: true })
  .map(String)
  .filter((f) => f.endsWith(".bench.ts") && !f.includes("peers"))
  .sort();
const wanted = args.soak || args.compile ? [] : options.words;
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
if (wanted.length && chosen.length === 0) {
  console.error(`bench: nothing is called ${wanted.join(" or ")}; bun bench --list shows what there is`);
  process.exit(2);
}
const say = (line: string) => {
  if (!args.json) console.log(line);
};
if (options.peers) {
  const comparison = { peers: options.peers, sizes: options.sizes, budget: options.budget };
  const problem = refuse(comparison);
  if (problem) {
    console.error(problem);
    process.exit(2);
  }
  console.log(JSON.stringify({ rows: await compare(comparison, say) }));
  process.exit(0);
}
if (args.compile) {
  const { rows, failed } = await compileAll({ preset: stepOptions.preset, words: options.words }, say).catch(stop);
  console.log(JSON.stringify({ preset: stepOptions.preset, rows, failed }));
  process.exit(failed.length ? 1 : 0);
}
if (args.memory) {
  const plan = await planMemory(dryGpu(), stepOptions);
  printPlan(stepOptions, plan, say);
  console.log(JSON.stringify({ ...stepOptions, ...plan }));
  process.exit(0);
}

const gpu = await init();
say(summary(gpu));

if (args.soak) {
  const result = await soak(options.soakSteps, say);
  console.log(JSON.stringify(result));
  shutdown();
  process.exit(result.flat ? 0 : 1);
}

if (args.decode) {
  const { streams, tokens } = options;
  const rows = await benchDecode({ ...stepOptions, streams, tokens }, say);
  console.log(JSON.stringify({ adapter: gpu.name, rows }));
  shutdown();
  process.exit(0);
}

const isHardware = gpu.target.class !== "software";
const casesOf = async (file: string): Promise<KernelCase[] | (() => Promise<Row[]>)> => {
  const { default: bench } = (await import(join(here, file))) as { default: KernelCase[] | (() => Promise<Row[]>) };
  return typeof bench === "function" ? bench : bench.filter(({ heavy, software }) => (isHardware ? !software : !heavy));
};

if (args.tune) {
  const lists = args.step ? [] : await Promise.all(chosen.map(casesOf));
  const cases = lists.flatMap((list) => (typeof list === "function" ? [] : list));
  const launches = args.step ? await stepLaunches(stepOptions) : casesToTune(cases, gpu.target);
  if (launches.length === 0) {
    console.error(`bench --tune: nothing in ${options.words.join(", ")} has a tuning space`);
    process.exit(2);
  }
  const rows = await explore(launches, { budgetMs: 1000 * options.budget, keep: !args.dry }, say);
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

/** What is wrong with the command line is a line on its own, and exit code 2. */
function usage<R>(read: () => R): R {
  try {
    return read();
  } catch (error) {
    return stop(error);
  }
}

function stop(error: unknown): never {
  if (!(error instanceof UsageError)) throw error;
  console.error(`bench: ${error.message}`);
  process.exit(2);
}

async function measureAll(cases: KernelCase[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const item of cases) rows.push(await measureCase(gpu, item, rates));
  return rows;
}
