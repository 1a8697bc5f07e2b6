/** `bun bench --peers`: the same work by this engine and by other JavaScript libraries, side by side. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { printTable, type Row } from "../table.ts";
import { attentionSize, decodeStreams, decodeTask, isSize } from "./data.ts";
import { attentionFlops, trainingWork } from "./measure.ts";
import { peers } from "./peer.ts";
import type { Report } from "./run.ts";

export interface CompareOptions {
  /** Names of peers; all where empty. */
  peers: string[];
  /** Sizes of the decoder, `attention`, `decode` and `decode8`; all but S0 where empty. */
  sizes: string[];
  /** Seconds for each peer and size; six steps are made whatever they take. */
  budget: number;
}

const tasks = ["S1", "S2", "S3", "attention", ...Object.keys(decodeStreams)];
/** For the first step to be cold, drivers may not remember what they compiled. */
const cold = { MESA_SHADER_CACHE_DISABLE: "true", __GL_SHADER_DISK_CACHE: "0" };

/** What is wrong with the options, or missing on this machine. */
export function refuse({ peers: names, sizes }: CompareOptions): string | undefined {
  const known = Object.keys(peers);
  const name = names.find((given) => !known.includes(given));
  if (name !== undefined) return `bench --peers: "${name}" is none of ${known.join(", ")}`;
  const size = sizes.find((given) => !tasks.includes(given) && !isSize(given));
  if (size !== undefined) return `bench --sizes: "${size}" is none of S0, ${tasks.join(", ")}`;
  const needed = names.length === 0 || names.some((given) => !given.startsWith("ours"));
  if (needed && !existsSync(join(import.meta.dirname, "node_modules")))
    return "bench --peers: the peers are not installed; run: bun install --cwd bench/peers";
  return undefined;
}

/** Runs each peer on each size in a process of its own, one after the other, and prints a table by size. */
export async function compare(options: CompareOptions, say: (line: string) => void): Promise<Row[]> {
  const names = options.peers.length ? options.peers : Object.keys(peers);
  const rows: Row[] = [];
  let adapter: string | undefined;
  for (const task of options.sizes.length ? options.sizes : tasks) {
    say(workOf(task).text);
    const reports: [name: string, report: Report | string][] = [];
    for (const name of names.filter((given) => !peers[given].infers || task in decodeStreams)) {
      const report = await runPeer(name, task, options.budget);
      const found = typeof report === "string" ? undefined : report.adapter;
      if (found !== undefined && found !== adapter) say(`on ${found}`);
      adapter = found ?? adapter;
      reports.push([name, report]);
    }
    const ours = reports.find(([name]) => name === "ours")?.[1];
    // Once more at the end: the spread says how steady the machine was meanwhile.
    if (typeof ours === "object" && names.length > 1)
      ours.times.push(...timesOf(await runPeer("ours", task, options.budget)));
    const yardstick = median(timesOf(ours));
    const own = reports.map(([name, report]) => rowOf(name, task, report, yardstick));
    printTable(own, say);
    rows.push(...own);
  }
  return rows;
}

/** What is measured, in words, and how much work a call is. */
function workOf(task: string): { text: string; tokens: number; flops: number } {
  if (isSize(task)) {
    const { text, ...work } = trainingWork(task);
    return { ...work, text: `${task}: a training step (loss, gradients, clip, AdamW) of ${text}` };
  }
  if (task === "attention") {
    const { heads, headDim, length: tokens } = attentionSize;
    const text = `attention, causal, forward and backward: ${heads} heads × ${headDim} × ${tokens} tokens`;
    return { text, tokens, flops: attentionFlops() };
  }
  const { size, tokens: each } = decodeTask;
  const [{ parameters }, streams] = [trainingWork(size), decodeStreams[task]];
  const of = streams > 1 ? ` of each of ${streams} streams` : "";
  const text = `${task}: ${each} tokens${of} one by one over a KV cache, weights of ${size}`;
  return { text, tokens: streams * each, flops: 2 * parameters * streams * each };
}

function rowOf(name: string, task: string, report: Report | string, ours: number): Row {
  const { library, backend } = peers[name];
  const row: Row = { name: library, "back end": backend, size: task, ms: Number.NaN };
  if (typeof report === "string") return { ...row, note: report };
  const seconds = median(report.times);
  const { tokens, flops } = workOf(task);
  const mb = (bytes: number | undefined) => (bytes === undefined ? "" : Math.round(bytes / 2 ** 20));
  return {
    ...row,
    "first s": report.first,
    ms: 1000 * seconds,
    "± %": Math.round((50 * (Math.max(...report.times) - Math.min(...report.times))) / seconds),
    "tokens/s": Math.round(tokens / seconds),
    "GFLOP/s": flops / seconds / 1e9,
    dispatches: report.dispatches ?? "",
    "GPU MB": mb(report.peakBytes),
    "resident MB": mb(report.residentBytes),
    "× ours": seconds / ours,
    note: report.disagrees ? `not timed: ${report.disagrees}` : (report.note ?? ""),
  };
}

/** The report of a peer's process, or the last words of one that failed. */
function runPeer(name: string, task: string, budget: number): Promise<Report | string> {
  const script = join(import.meta.dirname, "run.ts");
  return new Promise((done) => {
    const child = spawn(process.execPath, [script, name, task, String(budget)], {
      env: { ...process.env, ...cold },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let [output, errors] = ["", ""];
    child.stdout.on("data", (chunk) => (output += chunk));
    child.stderr.on("data", (chunk) => (errors += chunk));
    child.on("close", (code) => {
      const last = output.trimEnd().split("\n").at(-1) ?? "";
      if (code === 0 && last.startsWith("{")) done(JSON.parse(last) as Report);
      else done(`failed: ${/^\w*error: .*/im.exec(errors)?.[0] ?? errors.trim().split("\n").at(-1)} (exit ${code})`);
    });
  });
}

const timesOf = (report: Report | string | undefined) => (typeof report === "object" ? report.times : []);
const median = (xs: readonly number[]) => xs.toSorted((a, b) => a - b)[xs.length >> 1] ?? Number.NaN;
