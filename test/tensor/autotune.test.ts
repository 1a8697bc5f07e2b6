import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collect, releaseLaunches } from "../../framework/device/collect.ts";
import { type Kernel, kernel } from "../../framework/device/kernel.ts";
import { type Tunings, Winners } from "../../framework/device/winners.ts";
import { autotune, CausalLM, manualSeed, optim, randomState, scope } from "../../framework/index.ts";
import { snapshot } from "../../framework/model/state.ts";
import { applyTunings, tuneStep } from "../../framework/run/index.ts";
import { gpu, input } from "../ops/support.ts";

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
    const { kernels } = gpu.tunings;
    for (const { launch, compared } of tuned) if (compared) expect(kernels[launch.kernel.name]).toBeDefined();
    expect(existsSync(gpu.winners.path)).toBe(tuned.some(({ compared }) => compared));
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
  const run = (mode: "auto" | "on" | "off") => tuneStep(mode, () => step().dispose(), { budgetMs: 100, output });
  await run("off");
  if (gpu.target.class === "software") await run("auto");
  expect([text, existsSync(gpu.winners.path)]).toEqual(["", false]);
  await run("on");
  expect(text).toMatch(/^tuning kernels .*s of 0\.10 s/);
  gpu.useWinners(undefined);
});

test(
  "what there was time to compare is kept in the adapter's file",
  async () => {
    gpu.winners = new Winners("an adapter", join(folder, "kept.json"));
    const [a, b] = [input([64, 64]), input([64, 64], 2)];
    const output = { write: () => true };
    await tuneStep("on", () => a.matmul(b).dispose(), { budgetMs: 10_000, output }); // a space that is soon tried
    expect(JSON.parse(readFileSync(gpu.winners.path, "utf8")).kernels.matmul).toBeDefined();
    for (const x of [a, b]) x.dispose();
    gpu.useWinners(undefined);
  },
  LONG,
);

describe("a run's tunings", () => {
  const shape = { width: 4 };
  const { adapter } = gpu.tunings;
  const tuned = (lanes: number) => {
    const winners = new Winners(adapter, join(folder, "c.json"));
    winners.set(lanesKernel, shape, {}, gpu.target, { lanes }, 1);
    return winners;
  };
  const lanes = () => gpu.winners?.find(lanesKernel, shape, {}, gpu.target)?.tuning.lanes;
  const said: string[] = [];
  /** A run that goes on from a state, or begins, where by now other tunings have won. */
  const goesOn = (tunings: Tunings | undefined, mode: "auto" | "off" = "auto", resumed = true) => {
    said.length = 0;
    const run = { resumed: resumed ? { meta: { tunings } } : undefined, print: (line: string) => void said.push(line) };
    applyTunings(run, mode);
  };
  const saved = () => {
    const model = new CausalLM({ vocab_size: 8, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 1 });
    const optimizer = new optim.AdamW(model.namedParameters());
    const { meta } = snapshot(model, optimizer, "data");
    optimizer.dispose();
    model.dispose();
    return JSON.parse(JSON.stringify(meta)).tunings as Tunings;
  };
  afterEach(() => gpu.useWinners(undefined));

  test("are those that it was saved with, whatever was measured since", () => {
    gpu.useWinners(tuned(16));
    const state = saved();
    gpu.useWinners(tuned(32));
    goesOn(state);
    expect([lanes(), said]).toEqual([16, []]);
  });

  test("are none where it begins with tuning off, also when it goes on", () => {
    gpu.useWinners(tuned(16));
    goesOn(undefined, "off", false);
    const state = saved();
    expect(lanes()).toBeUndefined();
    gpu.useWinners(tuned(32));
    goesOn(state, "off");
    expect([lanes(), said]).toEqual([undefined, []]);
  });

  test("are none where it began under MICROMIND_TUNE=off", () => {
    const state = saved();
    gpu.useWinners(tuned(32));
    goesOn(state);
    expect([lanes(), said]).toEqual([undefined, []]);
  });

  test("are the machine's where it begins, and where an earlier version saved it", () => {
    for (const resumed of [true, false]) {
      gpu.useWinners(tuned(32));
      goesOn(undefined, "auto", resumed);
      expect([lanes(), said]).toEqual([32, []]);
    }
  });

  test("that cannot hold are told of: damaged, another adapter's, left out", () => {
    gpu.useWinners(tuned(16));
    const state = saved();
    gpu.useWinners(tuned(32));
    const told = (tunings: Tunings) => {
      goesOn(tunings);
      return [lanes(), ...said];
    };
    const end = ", so the run does not go on bit for bit";
    expect(told({ ...state, adapter: "GPU" })).toEqual([32, `--resume: the run was computed by "GPU"${end}`]);
    expect(told({ adapter, kernels: { matmul: 1 } } as never)).toEqual([
      32,
      `--resume: the state's tunings are damaged${end}`,
    ]);
    gpu.useWinners(undefined);
    expect(told(state)).toEqual([undefined, `--resume: MICROMIND_TUNE=off leaves out the tunings that it had${end}`]);
  });

  test("change what is launched at once", () => {
    const pipelines = (lanes: number) => {
      gpu.useWinners(tuned(lanes));
      const before = gpu.stats.pipelines;
      const x = gpu.alloc(256);
      gpu.launch(lanesKernel, { x: { block: x, offset: 0, bytes: 256 } }, shape);
      gpu.release(x);
      return gpu.stats.pipelines - before;
    };
    expect([pipelines(16), pipelines(32), pipelines(16)]).toEqual([1, 1, 0]);
  });
});

test("tunings that cannot be written serve the process, with a line", () => {
  const said: string[] = [];
  writeFileSync(join(folder, "a file"), "");
  const winners = new Winners("an adapter", join(folder, "a file", "x.json"));
  expect(winners.save((line) => said.push(line))).toBe(false);
  expect(said.join()).toMatch(/x\.json: can't be written \(E[A-Z]+: .*\); measured tunings serve this process alone/);
});
