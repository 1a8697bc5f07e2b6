import { stepBatches } from "../framework/data/ahead.ts";
import type { Batch } from "../framework/data/batches.ts";
import { totalsByKernel } from "../framework/device/profile.ts";
import { CausalLM, manualSeed, optim, presets, scope, Tensor } from "../framework/index.ts";
import { flopsPerToken } from "../framework/model/cost.ts";
import type { AdapterRates } from "../framework/ops/measure.ts";
import { gpu } from "../framework/tensor/engine.ts";
import { randomShards } from "./data/randomShards.ts";
import { printTable, type Row } from "./table.ts";

export interface StepOptions {
  preset: string;
  batch: number;
  length: number;
  precision?: optim.Precision;
  checkpointing?: boolean;
}

/** A model with its optimizer, and a training step: on packed rows as training feeds them, or on one fixed batch. */
export function trainer(options: StepOptions, config = presets[options.preset]) {
  const { batch, length, precision = "f32", checkpointing = false } = options;
  manualSeed(1);
  const model = new CausalLM(config);
  model.model.precision = precision;
  model.model.checkpointing = checkpointing;
  const optimizer = new optim.AdamW(model.namedParameters(), { precision });
  const { gradientScale } = optimizer;
  const row = (b: number) => Int32Array.from({ length }, (_, i) => (i * 31 + b * 17) % model.config.vocab_size);
  const tokens = Array.from({ length: batch }, (_, b) => row(b));
  const labels = tokens.map((r) => Int32Array.from({ length }, (_, i) => r[i + 1] ?? -100));
  const lossOf = (packed: Batch) => {
    const upload = (values: Int32Array) => Tensor.from(values, { shape: [batch, length] });
    const placement = { segments: upload(packed.segments), positions: upload(packed.positions) };
    return model.loss(upload(packed.tokens), upload(packed.labels), { ...placement, gradientScale });
  };
  const step = (packed?: Batch) =>
    scope(() => {
      optimizer.zeroGrad();
      const loss = packed ? lossOf(packed) : model.loss(tokens, labels, { gradientScale });
      loss.backward();
      optimizer.step({ clip: 1, loss });
      return loss;
    });
  return { model, optimizer, step };
}

const STEPS = 8;

/** Profiles training steps: wall time, time of the JavaScript that records them, the wait for batches, and device time by kernel. */
export async function profileStep(
  options: StepOptions,
  rates: AdapterRates,
  say: (line: string) => void,
): Promise<Record<string, unknown>> {
  const { model, optimizer, step } = trainer(options);
  const device = gpu();
  const { batch: batchSize, length: seqLen } = options;
  const { vocab_size: vocab } = model.config;
  const { shards, remove } = randomShards(vocab, 64 * batchSize * seqLen);
  const rows = { batchSize, seqLen, pad: 0, tokenBytes: new Uint16Array(vocab) };
  const feed = stepBatches(shards, rows);
  const batch = async () => ((await feed.next()).value as Batch[])[0];

  const firstBatch = await batch(); // starts the thread
  const first = performance.now();
  await optimizer.report(step(firstBatch));
  const firstMs = performance.now() - first;
  const dispatches = device.stats.dispatches;
  step(await batch()).dispose();
  const perStep = device.stats.dispatches - dispatches;
  await device.finish();

  const times: { wall: number; waited: number; script: number }[] = [];
  for (let i = 0; i < STEPS; i++) {
    const start = performance.now();
    const next = await batch();
    const arrived = performance.now();
    const before = threadMs();
    const loss = step(next);
    const script = threadMs() - before;
    await optimizer.report(loss);
    loss.dispose();
    times.push({ wall: performance.now() - start, waited: arrived - start, script });
  }
  const median = (xs: number[]) => xs.sort((a, b) => a - b)[xs.length >> 1];
  const wall = median(times.map((t) => t.wall));
  const dataWait = median(times.map((t) => t.waited / t.wall));
  const script = Math.min(...times.map((t) => t.script)); // the first steps run before the code is compiled
  const tokens = batchSize * seqLen;
  const rate = (flopsPerToken(model.config) * tokens) / (wall / 1000);
  const { peakBytes } = device.pool.stats;

  const last = await batch();
  const kernels = device.profiler.supported ? await byKernel(() => step(last)) : [];
  await feed.return(undefined);
  remove();
  if (kernels.length) say("Device time of one step by kernel (each launch in a pass of its own):\n");
  if (kernels.length) printTable(kernels, say);
  say(
    `${options.preset}, ${options.precision ?? "f32"}, batch ${options.batch} × ${options.length}: ${wall.toFixed(1)} ms a step, ${Math.round((tokens / wall) * 1000)} tokens/s, ${(rate / 1e9).toFixed(2)} GFLOP/s effective (${Math.round((100 * rate) / rates.flops)}% of matmul)`,
  );
  say(
    `first step ${(firstMs / 1000).toFixed(1)} s; ${perStep} dispatches; ${script.toFixed(1)} ms of JavaScript; ${(100 * dataWait).toFixed(2)}% of the time waiting for data; peak ${(peakBytes / 2 ** 20).toFixed(0)} MB`,
  );
  return {
    ...options,
    ms: wall,
    firstMs,
    dispatches: perStep,
    scriptMs: script,
    dataWait,
    tokensPerSecond: (tokens / wall) * 1000,
    gflops: rate / 1e9,
    peakBytes,
    kernels,
  };
}

/** CPU time of this thread: a software adapter computes on the same cores, which the clock would count. */
function threadMs(): number {
  if (!process.threadCpuUsage) return performance.now();
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

async function byKernel(step: () => { dispose(): void }): Promise<Row[]> {
  const { profiler } = gpu();
  profiler.active = true;
  step().dispose();
  gpu().flush();
  const launches = await profiler.take();
  profiler.active = false;
  const sums = totalsByKernel(launches);
  const total = sums.reduce((all, { ms }) => all + ms, 0);
  return sums.slice(0, 24).map((s) => ({
    name: s.name,
    launches: s.launches,
    ms: s.ms,
    share: `${Math.round((100 * s.ms) / total)}%`,
    "GFLOP/s": s.flops / s.ms / 1e6,
    "GB/s": s.bytes / s.ms / 1e6,
  }));
}
