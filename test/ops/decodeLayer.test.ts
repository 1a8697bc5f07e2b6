import { describe, expect, setDefaultTimeout, spyOn, test } from "bun:test";
import { availableParallelism } from "node:os";
import { noGrad } from "../../framework/autograd/graph.ts";
import type { Kernel } from "../../framework/device/kernel.ts";
import { openGpu } from "../../framework/device/open.ts";
import { Winners } from "../../framework/device/winners.ts";
import { CausalLM } from "../../framework/model/causalLM.ts";
import type { ModelConfig } from "../../framework/model/config.ts";
import { LoraAdapter } from "../../framework/model/lora.ts";
import { layerGroups } from "../../framework/ops/decodeLayer.ts";
import { findMeeting, meeting, setMeeting } from "../../framework/ops/meet.ts";
import { useGpu } from "../../framework/tensor/engine.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import { scope } from "../../framework/tensor/scope.ts";
import { LANES } from "../../kernels/decodeLayer.ts";
import { decodeLinear } from "../../kernels/decodeLinear.ts";
import { gpu } from "./support.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const { target } = gpu;
const sizes = {
  ...{ vocab_size: 40, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ intermediate_size: 96, max_position_embeddings: 40, initializer_range: 0.3 },
};

/** Hidden states of tokens one by one, and the launches of the last. */
async function decoded(model: CausalLM, groups: number, streams = 1) {
  const cache = model.newCache(streams, 40);
  cache.groups = groups;
  const ids = (t: number) => Array.from({ length: streams }, (_, row) => [(7 * t + row) % 40]);
  const states: Float32Array[] = [];
  let launches = 0;
  noGrad(() => scope(() => void model.hidden(ids(0), { cache })));
  cache.setLengths(new Array(streams).fill(1));
  for (let t = 1; t < 36; t++) {
    const before = gpu.stats.dispatches;
    const h = noGrad(() => scope(() => model.hidden(ids(t), { cache })));
    launches = gpu.stats.dispatches - before;
    states.push((await h.data()) as Float32Array);
    h.dispose();
    cache.setLengths(new Array(streams).fill(t + 1));
  }
  expect(await cache.missed()).toBe(false);
  cache.dispose();
  return { states: states.map((state) => [...state]), launches };
}

/** Runs `f` where a product of eight rows was tuned to so many columns a lane: none here has as many rows, so the kernels stay as they are. */
async function tuned<R>(columns: number, f: () => R | Promise<R>): Promise<R> {
  const before = gpu.winners;
  const shape = { prologue: "none", gated: false, a: "f32", b: "f32", residual: false, few: 8 } as const;
  const tuning = { lanes: target.subgroupSize, shuffle: 1, columns };
  gpu.winners = new Winners("of a test", "/nowhere");
  gpu.winners.set(decodeLinear as unknown as Kernel, shape, { m: 8, n: 64, k: 64, eps: 0 }, target, tuning, 1);
  try {
    return await f();
  } finally {
    gpu.winners = before;
  }
}

describe.skipIf(target.class !== "software" || !LANES.includes(target.subgroupSize))("a layer in one launch", () => {
  const apart = 5 * sizes.num_hidden_layers + 2; // and the embedding, and the last norm
  const models: [string, Partial<ModelConfig>, "f32" | "f16"][] = [
    ["qwen3", {}, "f32"],
    ["llama", { model_type: "llama" }, "f32"],
    ["a key head a head", { num_key_value_heads: 4, head_dim: 32 }, "f32"],
    ["f16", {}, "f16"],
  ];
  test.each(models)("equals its launches apart bit for bit: %s", async (_, more, precision) => {
    if (precision === "f16" && !target.f16) return;
    manualSeed(1);
    const model = new CausalLM({ ...sizes, ...more });
    if (precision === "f16") model.half();
    const expected = await decoded(model, 0);
    for (const groups of [1, 2]) {
      const { states, launches } = await decoded(model, groups);
      expect(states).toEqual(expected.states);
      expect([expected.launches, launches]).toEqual([apart, sizes.num_hidden_layers + 2]);
    }
    model.dispose();
  });

  test("is left to its launches where these take heads in another way, which rounds to f16 elsewhere", async () => {
    if (!target.f16) return;
    const wide = { num_hidden_layers: 1, num_attention_heads: 1, num_key_value_heads: 1, head_dim: 288 };
    const model = new CausalLM({ ...sizes, ...wide }).half();
    expect(await decoded(model, 2)).toEqual(await decoded(model, 0));
    model.dispose();
  });

  test("is left to its launches where it has biases, experts, adapters, other sizes or several streams", async () => {
    for (const more of [
      { model_type: "qwen2" },
      { num_experts: 2, num_experts_per_tok: 1, moe_intermediate_size: 32 },
      { hidden_size: 72, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 32 },
    ] as Partial<ModelConfig>[]) {
      const model = new CausalLM({ ...sizes, ...more });
      const expected = await decoded(model, 0);
      expect(await decoded(model, 2)).toEqual(expected);
      model.dispose();
    }
    const model = new CausalLM(sizes);
    expect(await decoded(model, 2, 2)).toEqual(await decoded(model, 0, 2));
    new LoraAdapter(model, { rank: 2, alpha: 4, targets: ["q_proj"] }).attach();
    expect(await decoded(model, 2)).toEqual(await decoded(model, 0));
    model.dispose();
  });

  test("generates the same tokens; where workgroups no longer meet it says so once, and goes on in parts", async () => {
    const model = new CausalLM(sizes);
    const tokens = async (cache = model.newCache(1, 40), on = model) => {
      const out: number[] = [];
      try {
        for await (const id of on.generate([1, 2, 3], { seed: 4, maxNewTokens: 20, cache })) out.push(id);
      } finally {
        cache.dispose();
      }
      return out;
    };
    setMeeting(2);
    const expected = await tuned(0, () => tokens()); // launches apart
    expect(layerGroups()).toEqual([1, 2]);
    expect(await tokens()).toEqual(expected);
    const fresh = new CausalLM(sizes); // whose first tokens go no way but the first
    const broken = fresh.newCache(1, 40) as unknown as { met: { write(values: number[]): void } };
    broken.met.write([0, 0, 1]);
    await expect(tokens(broken as never, fresh)).rejects.toThrow(
      /no longer runs the workgroups of decodeLayer side by side. Try again/,
    );
    expect(meeting()).toBe(0);
    expect(layerGroups()).toEqual([1, 0]);
    expect(await tokens()).toEqual(expected);
    model.dispose();
    fresh.dispose();
  });

  test("is no choice for models that never take it: their launches are captured once", async () => {
    setMeeting(2);
    const capture = spyOn(gpu, "capture");
    for (const more of [
      { model_type: "qwen2" },
      { num_experts: 2, num_experts_per_tok: 1, moe_intermediate_size: 32 },
    ] as Partial<ModelConfig>[]) {
      const model = new CausalLM({ ...sizes, ...more });
      capture.mockClear();
      for await (const _ of model.generate([1, 2, 3], { maxNewTokens: 30 }));
      expect(capture).toHaveBeenCalledTimes(1);
      model.dispose();
    }
    capture.mockRestore();
  });

  test("is no choice where tuning has products sum in another order", async () => {
    setMeeting(3);
    expect(await tuned(2, layerGroups)).toEqual([1, 3, 0]);
    expect(await tuned(0, layerGroups)).toEqual([0]);
  });

  test("is sought once a device, for all who ask meanwhile", async () => {
    setMeeting(3);
    await findMeeting();
    expect(meeting()).toBe(3);
    const fresh = await openGpu();
    useGpu(fresh);
    try {
      const [first, second] = [findMeeting(), findMeeting()];
      expect(second).toBe(first);
      await first;
      expect([0, Math.min(availableParallelism(), 16)]).toContain(meeting());
      const before = fresh.stats.dispatches;
      await findMeeting();
      expect(fresh.stats.dispatches).toBe(before);
    } finally {
      useGpu(gpu);
      fresh.close();
    }
  });
});
