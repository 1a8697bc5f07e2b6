import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collect, releaseLaunches } from "../../framework/device/collect.ts";
import { type Kernel, kernel } from "../../framework/device/kernel.ts";
import { Winners } from "../../framework/device/winners.ts";
import { autotune, CausalLM, manualSeed, optim, randomState, scope } from "../../framework/index.ts";
import { tuneStep } from "../../framework/run/index.ts";
import { gpu } from "../ops/support.ts";

const LONG = 120_000; // kernels are compiled

const folder = mkdtempSync(join(tmpdir(), "micromind-autotune-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
  dispose();
});

const lanesKernel = kernel<{ width: number }, { lanes: number }>({
  name: "lanesOfATest",
  bindings: { x: "write" },
  tuning: { lanes: [8, 16, 32] },
  workgroups: () => [1],
  cost: () => ({ flops: 0, bytes: 256 }),
  wgsl: (_, { lanes }) => `
    @compute @workgroup_size(${lanes})
    fn main(@builtin(local_invocation_index) i: u32) { x[i] = 1.0; }`,
}) as unknown as Kernel;

const tokens = [Int32Array.from({ length: 12 }, (_, i) => i % 5), Int32Array.from({ length: 12 }, (_, i) => i % 7)];

/** A model, its optimizer, and a training step. */
function training(precision: optim.Precision) {
  manualSeed(1);
  const model = new CausalLM({
    ...{ vocab_size: 40, hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 },
    ...{ intermediate_size: 24, max_position_embeddings: 16 },
  });
  model.model.precision = precision;
  const optimizer = new optim.AdamW(model.namedParameters(), { precision });
  const { gradientScale } = optimizer;
  const step = () =>
    scope(() => {
      optimizer.zeroGrad();
      const loss = model.loss(tokens, tokens, { gradientScale });
      loss.backward();
      optimizer.step({ clip: 1, loss });
      return loss;
    });
  const everything = async () =>
    Promise.all([...model.parameters(), ...optimizer.state().values()].map(async (t) => [...(await t.data())]));
  const dispose = () => {
    optimizer.dispose();
    model.dispose();
  };
  return { step, everything, dispose };
}

const { step, everything, dispose } = training("f32");

test(
  "autotune measures a step's kernels and changes nothing of the training",
  async () => {
    step().dispose();
    const [before, random, live] = [await everything(), randomState(), gpu.pool.stats.liveBuffers];
    gpu.winners = new Winners("an adapter", join(folder, "a.json"));
    const shown: string[] = [];
    const tuned = await autotune(() => step().dispose(), {
      budgetMs: 300,
      onProgress: (_, l) => shown.push(l.kernel.name),
    });
    expect(tuned.length).toBeGreaterThan(0);
    expect(shown).toContain("matmul");
    expect(await everything()).toEqual(before);
    expect([randomState(), gpu.pool.stats.liveBuffers]).toEqual([random, live]);
    expect(JSON.parse(readFileSync(gpu.winners.path, "utf8")).kernels.matmul).toBeDefined();
  },
  LONG,
);

test("steps after it make no pipeline and no bind group once their buffers have come round", async () => {
  for (let i = 0; i < 4; i++) step().dispose();
  await gpu.finish();
  const { pipelines, bindGroupsCreated } = gpu.stats;
  step().dispose();
  await gpu.finish();
  expect(gpu.stats).toMatchObject({ pipelines, bindGroupsCreated });
});

test.each(["f32", "f16"] as const)(
  "a step collected before the first one leaves no trace in %s",
  async (precision) => {
    if (precision === "f16" && !gpu.target.f16) return;
    const states = [];
    for (const collected of [true, false]) {
      const fresh = training(precision);
      if (collected) releaseLaunches(gpu, await collect(gpu, () => fresh.step().dispose()));
      for (let i = 0; i < 2; i++) fresh.step().dispose();
      states.push(await fresh.everything());
      fresh.dispose();
    }
    expect(states[0]).toEqual(states[1]);
  },
  LONG,
);

test("without a store of winners, as under MICROMIND_TUNE=off, nothing is measured", async () => {
  gpu.winners = undefined;
  const before = gpu.stats.dispatches;
  expect(await autotune(step)).toEqual([]);
  expect(gpu.stats.dispatches).toBe(before);
});

test("a recipe tunes on a software adapter only when told to, with a bar", async () => {
  gpu.winners = new Winners("an adapter", join(folder, "b.json"));
  let text = "";
  const output = { write: (line: string) => (text += line) };
  const run = (mode: "auto" | "on") => tuneStep(runIn(folder), mode, () => step().dispose(), { budgetMs: 100, output });
  if (gpu.target.class === "software") await run("auto");
  expect([text, existsSync(gpu.winners.path)]).toEqual(["", false]);
  await run("on");
  expect(text).toMatch(/^tuning kernels .*s of 0\.10 s/);
  expect(existsSync(gpu.winners.path)).toBe(true);
  gpu.useWinners(undefined);
});

const runIn = (dir: string, resumed = false, said: string[] = []) => ({
  ...{ dir, resumed: resumed || undefined },
  print: (line: string) => void said.push(line),
});

describe("a run's tunings", () => {
  const shape = { width: 4 };
  const tuned = (lanes: number, path = join(folder, "c.json"), adapter = "an adapter") => {
    const winners = new Winners(adapter, path);
    winners.set(lanesKernel, shape, {}, gpu.target, { lanes }, 1);
    return winners;
  };
  const lanes = () => gpu.winners?.find(lanesKernel, shape, {}, gpu.target)?.tuning.lanes;
  const dir = mkdtempSync(join(folder, "run-"));
  const settle = (run: ReturnType<typeof runIn>, mode: "auto" | "off" = "auto") => tuneStep(run, mode, () => {});

  test("are those that it began with, whatever was measured since", async () => {
    gpu.winners = tuned(16);
    await settle(runIn(dir));
    gpu.useWinners(tuned(32));
    await settle(runIn(dir, true));
    expect(lanes()).toBe(16);
  });

  test("are none where it begins with tuning off, also when it goes on", async () => {
    gpu.winners = tuned(16);
    await settle(runIn(dir), "off");
    expect(lanes()).toBeUndefined();
    gpu.useWinners(tuned(32));
    await settle(runIn(dir, true));
    expect(lanes()).toBeUndefined();
  });

  test("are the machine's where the run has none, or another adapter's", async () => {
    const said: string[] = [];
    gpu.winners = tuned(16, join(folder, "d.json"), "another adapter");
    await settle(runIn(dir));
    gpu.useWinners(tuned(32));
    await settle(runIn(dir, true, said));
    expect(lanes()).toBe(32);
    expect(said.join()).toContain(
      "tunings.json: is another adapter's; the run goes on by this machine's tunings, and so not bit for bit",
    );
    await settle(runIn(join(folder, "nothing"), true));
    expect(lanes()).toBe(32);
    gpu.useWinners(undefined);
  });

  test("change what is launched at once", async () => {
    const launched = () => {
      const before = gpu.stats.pipelines;
      const x = gpu.alloc(256);
      gpu.launch(lanesKernel, { x: { block: x, offset: 0, bytes: 256 } }, shape);
      gpu.release(x);
      return gpu.stats.pipelines - before;
    };
    gpu.useWinners(tuned(16));
    expect(launched()).toBe(1);
    gpu.useWinners(tuned(32));
    expect(launched()).toBe(1);
    gpu.useWinners(tuned(16));
    expect(launched()).toBe(0);
    gpu.useWinners(undefined);
  });
});

test("tunings that cannot be written serve the process, with a line", () => {
  const said: string[] = [];
  writeFileSync(join(folder, "a file"), "");
  const winners = new Winners("an adapter", join(folder, "a file", "x.json"));
  expect(winners.save((line) => said.push(line))).toBe(false);
  expect(said.join()).toMatch(/x\.json: can't be written \(E[A-Z]+: .*\); measured tunings serve this process alone/);
});
