import { afterAll, beforeEach, expect, test } from "bun:test";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { configure, runKeys } from "../../framework/run/config.ts";
import { ConfigError, DivergedError } from "../../framework/run/errors.ts";
import { addSamples, samplesUpTo, takeFolder } from "../../framework/run/folder.ts";
import { report } from "../../framework/run/main.ts";
import { readMetrics } from "../../framework/run/metrics.ts";
import { Run } from "../../framework/run/run.ts";
import { count } from "../../framework/run/schema.ts";

const root = fs.mkdtempSync(join(tmpdir(), "run-"));
afterAll(() => fs.rmSync(root, { recursive: true }));
let dir: string;
beforeEach(() => {
  dir = join(fs.mkdtempSync(join(root, "case-")), "toy");
});

const config = (line = "") =>
  configure(
    "toy",
    { eval: { every: count(5, "steps", 0) }, save: { every: count(0, "steps", 0) }, run: runKeys(dir) },
    { args: line.split(" ").filter((word) => word), presets: root },
  );
const output = () => {
  const lines: string[] = [];
  return { lines, write: (text: string) => lines.push(text) };
};
const state = { tensors: { w: { shape: [1], dtype: "F32" as const, data: Float32Array.of(1) } }, meta: null };
const metrics = () => readMetrics(join(dir, "metrics.jsonl"));

test("steps come with their batch, from a function or from an iterator, which is closed", async () => {
  const run = await Run.open(config(), output());
  const seen: [number, string][] = [];
  for await (const { step, batch } of run.steps((step) => `batch ${step}`, { total: 2 })) seen.push([step, batch]);
  expect(seen).toEqual([
    [1, "batch 1"],
    [2, "batch 2"],
  ]);
  run.finish();
  let closed = false;
  async function* batches() {
    try {
      for (;;) yield "batch";
    } finally {
      closed = true;
    }
  }
  const again = await Run.open(config("--run.overwrite"), output());
  let amount = 0;
  for await (const { batch } of again.steps(batches(), { total: 3 })) amount += batch.length;
  expect([amount, closed]).toEqual([15, true]);
  again.finish();
});

test("batches that end before the steps do are an error", async () => {
  const run = await Run.open(config(), output());
  const train = async () => {
    for await (const _ of run.steps(["a", "b"], { total: 3 }));
  };
  expect(train()).rejects.toThrow("run.steps: the batches end before step 3");
  await train().catch(() => {});
  run.finish();
});

test("things are due every so many steps and at the end, with 0 only at the end", async () => {
  const run = await Run.open(config(), output());
  const due: Record<string, number[]> = { eval: [], save: [] };
  for await (const { step } of run.steps(() => 0, { total: 12 }))
    for (const what of ["eval", "save"]) if (run.due(what, step)) due[what]!.push(step);
  expect(due).toEqual({ eval: [5, 10, 12], save: [12] });
  expect(() => run.due("sample", 1)).toThrow("run.due: the config has no sample.every");
  run.finish();
});

test("losses may be logged a step late, and stand at their own step", async () => {
  const run = await Run.open(config(), output());
  for await (const { step } of run.steps(() => 0, { total: 4 }))
    if (step > 1) run.log({ step: step - 1, loss: step - 1 });
  run.log({ step: 4, loss: 4 });
  run.finish();
  expect(metrics().map(({ step, loss }) => [step, loss])).toEqual([1, 2, 3, 4].map((step) => [step, step]));
});

test("a state cannot be saved before its step is logged", async () => {
  const run = await Run.open(config(), output());
  run.log({ step: 1, loss: 1 });
  expect(run.save(2, state)).rejects.toThrow("run.save: log step 2 before saving it");
  expect(await run.save(1, state)).toBe(true);
  run.finish();
});

test("a failure of what is saved beside the state is told, and the run goes on", async () => {
  const out = output();
  const run = await Run.open(config(), out);
  run.log({ step: 1, loss: 1 });
  fs.mkdirSync(join(dir, "model.safetensors", "in the way"), { recursive: true });
  const { writeFileAtomic } = await import("../../framework/checkpoint/file.ts");
  expect(await run.save(1, state, () => writeFileAtomic(run.path("model.safetensors"), "weights"))).toBe(false);
  expect(out.lines.join("")).toContain("WARNING: saving step 1: ");
  expect(out.lines.join("")).toContain("the last good state is that of step 1");
  run.finish();
  expect(process.exitCode).toBe(1);
  process.exitCode = 0;
});

test("steps lost to f16's range are counted, and stop the run only where the scale can fall no further", async () => {
  const out = output();
  const run = await Run.open(config(), out);
  const lost = (step: number, lossScale: number) =>
    run.log({ step, loss: 1, gradNorm: Infinity, skipped: true, overflow: true, lossScale });
  for (let step = 1; step <= 8; step++) lost(step, 2 ** (16 - step));
  expect(run.skipped).toBe(8);
  expect(out.lines.join("")).toContain("a gradient beyond f16's range; they are scaled by 32768 from here on");
  for (let step = 9; step <= 12; step++) lost(step, 1);
  expect(() => lost(13, 1)).toThrow(DivergedError);
});

test("the share of time that is waited for data is logged and shown", async () => {
  const out = output();
  const run = await Run.open(config(), out);
  const slow = async () => void (await new Promise((resolve) => setTimeout(resolve, 20)));
  for await (const { step } of run.steps(slow, { total: 4 })) run.log({ step, loss: 1, tokens: 8 });
  run.finish();
  const lines = metrics();
  expect(lines[0].dataWait).toBeUndefined(); // the first step says nothing about speed
  expect(lines[3].dataWait).toBeWithin(0.5, 1);
  expect(out.lines.join("")).toMatch(/ ([5-9]\d|100)% waiting for data/);
});

test("while the device works on the step before, it does not wait for data", async () => {
  const waits = async (between: (run: Run, step: number) => void, after: (run: Run, step: number) => void) => {
    const run = await Run.open(config("--run.overwrite"), output());
    const slow = async (step: number) => {
      await Bun.sleep(10);
      between(run, step - 1);
      await Bun.sleep(10);
    };
    for await (const { step } of run.steps(slow, { total: 4 })) {
      run.log({ step, loss: 1, tokens: 8 });
      after(run, step);
    }
    run.finish();
    return metrics().at(-1)?.dataWait as number;
  };
  const none = () => {};
  const done = (run: Run, step: number) => run.computed(step);
  const all = await waits(none, done);
  const half = await waits(done, none);
  expect(all).toBeGreaterThan(0.5);
  expect(half).toBeWithin(0.1, 0.9 * all);
  expect(await waits(none, (run, step) => run.computed(step - 1))).toBe(0);
});

test("a batch that is made in one go is waited for, since nobody can say meanwhile that the device has finished", async () => {
  const run = await Run.open(config(), output());
  const slow = () => {
    for (const end = performance.now() + 20; performance.now() < end; );
  };
  for await (const { step } of run.steps(slow, { total: 4 })) {
    run.log({ step, loss: 1, tokens: 8 });
    setTimeout(() => run.computed(step), 1); // comes after the next batch
  }
  run.finish();
  expect(metrics().at(-1)?.dataWait).toBeGreaterThan(0.5);
});

test("skipped steps are counted and written, and a good one starts the count anew", async () => {
  const out = output();
  const run = await Run.open(config(), out);
  for (let step = 1; step <= 4; step++) run.log({ step, loss: step % 2 ? 1 : Number.NaN, gradNorm: 2 });
  run.log({ step: 5, loss: 1, gradNorm: Infinity });
  run.log({ step: 6, loss: 1, gradNorm: 1, skipped: true });
  run.skip(7, { loss: Number.NaN });
  expect(run.skipped).toBe(5);
  run.log({ step: 8, loss: 2, gradNorm: 1 });
  for (let step = 9; step <= 12; step++) run.skip(step, { loss: Number.NaN });
  expect(() => run.skip(13, { loss: Number.NaN, learningRate: 3e-3 })).toThrow(DivergedError);
  expect(
    metrics()
      .filter(({ skipped }) => skipped)
      .map(({ step }) => step),
  ).toEqual([2, 4, 5, 6, 7, 9, 10, 11, 12, 13]);
  expect(metrics().find(({ step }) => step === 5)).toMatchObject({ loss: 1, gradNorm: null });
});

test("tokens a second, the share of the peak and the time left are shown once they are known", async () => {
  const out = { ...output(), isTTY: true, columns: 200 };
  const run = await Run.open(config(), out);
  for await (const { step } of run.steps(() => 0, { total: 6, flopsPerToken: 10, peakFlops: 1e6 })) {
    await Bun.sleep(60);
    run.log({ step, loss: 3, learningRate: 1e-4, gradNorm: 0.5, tokens: 60, memory: 3e6 });
  }
  run.finish();
  const last = out.lines.findLast((line) => line.includes("tok/s"))!;
  expect(last).toMatch(/0:00 left {2}\d{3} tok\/s .*1% of matmul peak {2}3\.00 MB/);
  expect(metrics().at(-1)!.tokensPerSecond).toBeWithin(300, 1100);
  expect(metrics().at(-1)!.seconds).toBeGreaterThan(0.3);
});

test("two processes cannot write one folder; one that died does not keep it", async () => {
  const first = await Run.open(config(), output());
  expect(Run.open(config(), output())).rejects.toThrow(`${dir}: this process is writing a run here`);
  first.finish();
  const { pid } = Bun.spawnSync(["true"]);
  fs.writeFileSync(join(dir, ".running"), fs.readFileSync("/proc/sys/kernel/hostname", "utf8") + pid);
  (await Run.open(config(), output())).finish();
});

test("a run that never begins puts back the one that it moved aside", () => {
  fs.mkdirSync(dir);
  fs.writeFileSync(join(dir, "metrics.jsonl"), "{}\n");
  const lines: string[] = [];
  const folder = takeFolder(config(), (text) => lines.push(text));
  expect(lines).toEqual([`${dir} held another run: it is now ${dir}.1`]);
  expect(fs.existsSync(join(dir, "metrics.jsonl"))).toBe(false);
  folder.release();
  expect(fs.readFileSync(join(dir, "metrics.jsonl"), "utf8")).toBe("{}\n");
  expect(fs.existsSync(`${dir}.1`)).toBe(false);
});

test("a folder that holds other things is used, and they stay; a file in its place is refused", () => {
  fs.mkdirSync(dir);
  fs.writeFileSync(join(dir, "notes.txt"), "mine");
  const folder = takeFolder(config(`--run.dir ${dir}`), () => {});
  folder.begin();
  folder.release();
  expect(fs.readdirSync(dir)).toEqual(["notes.txt"]);
  expect(() => takeFolder(config(`--run.dir ${dir}/notes.txt`), () => {})).toThrow("is a file, expected a folder");
});

test("samples read as Markdown, whatever is in them, and are cut off where a run goes on", () => {
  const file = join(root, "samples.md");
  addSamples(file, 10, [{ prompt: "世界上最高的山峰是", text: "珠穆朗玛峰\n## Step 99 *" }]);
  addSamples(file, 20, [{ prompt: "", text: "free" }]);
  const text = fs.readFileSync(file, "utf8");
  expect(text).toContain("## Step 10\n\n> **世界上最高的山峰是**珠穆朗玛峰\n> ## Step 99 \\*\n");
  expect(samplesUpTo(file, 10)).toBe(text.slice(0, text.indexOf("## Step 20")));
  addSamples(file, 20, [{ prompt: "", text: "again" }]);
  expect(fs.readFileSync(file, "utf8").match(/## Step 20/g)).toHaveLength(1);
});

test("errors for users are a line, others have their stack, and the exit code says which", () => {
  const lines: string[] = [];
  const write = (text: string) => lines.push(text);
  class TokenizerError extends Error {}
  expect(
    [new ConfigError("a"), new DivergedError("b"), new TokenizerError("c")].map((error) => report(error, write)),
  ).toEqual([2, 1, 1]);
  expect(lines).toEqual(["error: a\n", "error: b\n", "error: c\n"]);
  expect(report(new TypeError("x is not a function"), write)).toBe(1);
  expect(lines.at(-1)).toContain("    at ");
});

test("a folder without a name is refused in words", async () => {
  await expect(Run.open(config("--run.dir="), output())).rejects.toThrow(
    "--run.dir is empty, expected a folder's name",
  );
});
