/**
 * `bun run test [filter …]`: the whole suite on the default provider, then the tests that touch the device most on Dawn
 * for N-API, then a smoke script under Deno's own WebGPU. A filter keeps the files whose path contains it.
 * With MICROMIND_GPU set, the whole suite runs on that provider and nothing else does.
 * The last line is `N passed, N failed[, N skipped]`, summed from the reports of the test processes.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, relative, resolve } from "node:path";

const ROOT = resolve(import.meta.dirname, "..");
/** Software drivers run out of native handles (llvmpipe at some 65,000 bind groups), so no process runs everything. */
const FILES_PER_PROCESS = 6;
/** llvmpipe takes every core by itself; a second process fills the gaps in which WGSL is compiled. */
const PROCESSES = Math.min(2, availableParallelism());
/** A test that hangs in native code cannot be stopped from inside its process. */
const MINUTES_PER_PROCESS = 10;
const TEST_TIMEOUT_MS = 60_000;
/** What runs on Dawn for N-API too: device, ops and training steps. */
const ALSO_ON_DAWN = [/^test\/device\//, /^test\/ops\//, /^test\/model\/train/, /^test\/optim\//];
const DENO_SMOKE = "test/deno/smoke.ts";

/** `bun test` names what failed once more at its end. */
const LIST_AT_END = /^\d+ tests? failed:\n(\(fail\) .*\n( {2}\^ .*\n)?)+/m;

export interface Report {
  passed: number;
  failed: number;
  skipped: number;
  /** `file: test`, or what ended the process. */
  failures: string[];
}

export interface Group {
  /** Which WebGPU it runs on. */
  provider: string;
  /** Which tests. */
  name: string;
  command: string[];
  env?: Record<string, string>;
  /** Reads the child's output; the exit status is judged by `judge`. */
  read: (output: string) => Report | undefined;
}

/** `bun test`'s own summary and its list of failures; undefined where the summary is missing: the process died. */
export function readBunTest(output: string): Report | undefined {
  const lines = output.replace(LIST_AT_END, "").split("\n");
  const end = lines.findLastIndex((line) => /^Ran \d+ tests? across \d+ files?\./.test(line));
  if (end < 0) return undefined;
  const report: Report = { passed: 0, failed: 0, skipped: 0, failures: [] };
  const counts = { pass: "passed", fail: "failed", skip: "skipped", todo: "skipped" } as const;
  for (let i = end - 1; i >= 0 && /^( \d+ \w|$)/.test(lines[i]!); i--) {
    const [, count, kind] = /^ (\d+) (pass|fail|skip|todo)$/.exec(lines[i]!) ?? [];
    if (kind) report[counts[kind as keyof typeof counts]] += Number(count);
  }
  let file = "";
  for (const line of lines.slice(0, end)) {
    if (/^\S+\.test\.ts:$/.test(line)) file = line.slice(0, -1);
    const [, name] = /^\(fail\) (.*?)(?: \[[\d.]+m?s\])?$/.exec(line) ?? [];
    const failure = name
      ? `${file}: ${name}`
      : line.startsWith("# Unhandled error")
        ? `${file}: an error outside of tests`
        : "";
    if (failure && !report.failures.includes(failure)) report.failures.push(failure);
  }
  return report;
}

/** A smoke script's last `N passed, N failed`, or its line `skip: why`. */
export function readSmoke(output: string): Report | undefined {
  const counts = [...output.matchAll(/^(\d+) passed, (\d+) failed/gm)].at(-1);
  if (counts) {
    const failures = [...output.matchAll(/^fail: (.*)$/gm)].map((match) => `${DENO_SMOKE}: ${match[1]}`);
    return { passed: Number(counts[1]), failed: Number(counts[2]), skipped: 0, failures };
  }
  if (/^skip: /m.test(output)) return { passed: 0, failed: 0, skipped: 1, failures: [] };
  return undefined;
}

/** The report of a finished process: one that died, or ended badly without naming a failure, counts as a failure. */
export function judge(group: Group, output: string, ended: string): Report {
  const report = group.read(output);
  if (!report) {
    const passed = output.match(/^\(pass\) /gm)?.length ?? 0;
    return { passed, failed: 1, skipped: 0, failures: [`${group.name}: ended without a report (${ended})`] };
  }
  if (ended !== "exit 0" && report.failed === 0)
    return { ...report, failed: 1, failures: [...report.failures, `${group.name}: ${ended} after its tests`] };
  return report;
}

/** Test files by top-level folder, at most FILES_PER_PROCESS together. */
export function groupFiles(files: readonly string[]): Map<string, string[]> {
  const folders = Map.groupBy(files.toSorted(), (file) => file.split("/").slice(0, 2).join("/"));
  const groups = new Map<string, string[]>();
  for (const [folder, all] of folders) {
    const parts = Math.ceil(all.length / FILES_PER_PROCESS);
    for (let part = 0; part < parts; part++) {
      const chunk = all.slice(Math.floor((part * all.length) / parts), Math.floor(((part + 1) * all.length) / parts));
      groups.set(parts === 1 ? folder : `${folder} ${part + 1}/${parts}`, chunk);
    }
  }
  return groups;
}

function bunGroups(provider: string, files: readonly string[], env?: Record<string, string>): Group[] {
  return [...groupFiles(files)].map(([name, chunk]) => ({
    provider,
    name,
    command: [process.execPath, "test", `--timeout=${TEST_TIMEOUT_MS}`, ...chunk.map((file) => `./${file}`)],
    env,
    read: readBunTest,
  }));
}

/** What is to run, and the passes that cannot, with the reason. */
function plan(filters: readonly string[]): { groups: Group[]; skipped: string[] } {
  const matches = (file: string) => filters.length === 0 || filters.some((filter) => file.includes(filter));
  const files = [...new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: ROOT })]
    .map((file) => file.replaceAll("\\", "/"))
    .filter(matches);
  const chosen = process.env.MICROMIND_GPU;
  const groups = bunGroups(chosen ?? "default", files);
  const skipped: string[] = [];
  if (chosen) return { groups, skipped };

  const onDawn = files.filter((file) => ALSO_ON_DAWN.some((pattern) => pattern.test(file)));
  if (!existsSync(resolve(ROOT, "node_modules/webgpu"))) skipped.push("dawn: the package webgpu is not installed here");
  else groups.push(...bunGroups("dawn", onDawn, { MICROMIND_GPU: "dawn" }));

  const deno = resolve(ROOT, "node_modules/deno/bin.cjs");
  if (!matches(DENO_SMOKE)) return { groups, skipped };
  if (!existsSync(resolve(ROOT, DENO_SMOKE))) skipped.push(`deno: there is no ${DENO_SMOKE}`);
  else if (!existsSync(deno)) skipped.push("deno: the package deno is not installed here");
  else {
    const command = [process.execPath, deno, "run", "-A", DENO_SMOKE];
    groups.push({
      provider: "deno",
      name: dirname(DENO_SMOKE),
      command,
      env: { MICROMIND_GPU: "navigator" },
      read: readSmoke,
    });
  }
  return { groups, skipped };
}

const running = new Set<ChildProcess>();

/** Ends a child and what it started: each leads a process group of its own. */
function end(child: ChildProcess): void {
  try {
    process.kill(process.platform === "win32" ? child.pid! : -child.pid!, "SIGKILL");
  } catch {
    // already gone
  }
}

function run(group: Group): Promise<{ report: Report; output: string; seconds: number }> {
  const start = performance.now();
  return new Promise((done) => {
    const child = spawn(group.command[0]!, group.command.slice(1), {
      cwd: ROOT,
      env: { MICROMIND_TUNE: "off", ...process.env, ...group.env, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
      detached: process.platform !== "win32",
    });
    running.add(child);
    const chunks: Buffer[] = [];
    let ended = "";
    const limit = setTimeout(() => {
      ended = `stopped after ${MINUTES_PER_PROCESS} minutes`;
      end(child);
    }, MINUTES_PER_PROCESS * 60_000);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    const finish = (status: string) => {
      clearTimeout(limit);
      running.delete(child);
      const output = Buffer.concat(chunks).toString();
      done({ report: judge(group, output, ended || status), output, seconds: (performance.now() - start) / 1000 });
    };
    child.on("error", (error) => finish(error.message));
    child.on("close", (code, signal) => finish(signal ?? `exit ${code}`));
  });
}

/** What a failed process said, without its passing tests; all of its last words where it died among them. */
function excerpt(output: string, died: boolean): string {
  const lines = output.split("\n").filter((line) => died || !/^\((pass|skip|todo)\) /.test(line));
  const text = lines.slice(died ? -60 : -200).join("\n");
  return text
    .replace(LIST_AT_END, "")
    .replace(/\n{3,}/g, "\n\n")
    .trim();
}

async function main(): Promise<number> {
  const filters = process.argv.slice(2).map((filter) => relative(ROOT, resolve(ROOT, filter)).replaceAll("\\", "/"));
  const { groups, skipped } = plan(filters);
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => {
      for (const child of running) end(child);
      process.exit(130);
    });
  const total: Report = { passed: 0, failed: 0, skipped: skipped.length, failures: [] };
  for (const reason of skipped) console.log(`skip  ${reason}`);
  const queue = [...groups];
  const worker = async () => {
    for (let group = queue.shift(); group; group = queue.shift()) {
      const { report, output, seconds } = await run(group);
      const { passed, failed } = report;
      const counts = `${String(passed).padStart(5)} passed${failed ? `, ${failed} failed` : ""}${report.skipped ? `, ${report.skipped} skipped` : ""}`;
      console.log(
        `${failed ? "FAIL" : "ok  "}  ${group.provider.padEnd(8)} ${group.name.padEnd(22)} ${seconds.toFixed(1).padStart(6)} s ${counts}`,
      );
      for (const [, why] of output.matchAll(/^skip: (.*)$/gm)) console.log(`      skipped: ${why}`);
      if (failed) console.log(`${excerpt(output, !group.read(output))}\n`);
      total.passed += passed;
      total.failed += failed;
      total.skipped += report.skipped;
      total.failures.push(...report.failures.map((failure) => `${group.provider}  ${failure}`));
    }
  };
  await Promise.all(Array.from({ length: PROCESSES }, worker));
  if (total.failures.length > 0)
    console.log(`\nFailed:\n${total.failures.map((failure) => `  ${failure}`).join("\n")}`);
  const nothing = total.passed + total.failed === 0;
  if (nothing)
    console.log(`\nNo test ran${filters.length ? `: no file's path contains ${filters.join(" or ")}` : ""}.`);
  console.log(`\n${total.passed} passed, ${total.failed} failed${total.skipped ? `, ${total.skipped} skipped` : ""}`);
  return total.failed > 0 || nothing ? 1 : 0;
}

if (import.meta.main) process.exit(await main());
