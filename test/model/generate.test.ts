import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { CausalLM } from "../../framework/model/causalLM.ts";
import type { GenerateOptions } from "../../framework/model/generate.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import { collectGarbage, gpu, leftBehind, worst } from "../ops/support.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

manualSeed(1);
const sizes = {
  vocab_size: 50,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 64,
  max_position_embeddings: 600,
  initializer_range: 0.5, // so that tokens differ
};
const model = new CausalLM(sizes);
const prompts = [[1, 2, 3, 4, 5, 6, 7], [8], [9, 10, 11], Array.from({ length: 23 }, (_, i) => (i * 7) % 50)];
const cpu = gpu.target.class === "software";
const sampled = { seed: 5, topK: 40, topP: 0.95, repetitionPenalty: 1.1, temperature: 0.9 };

async function batch(rows: readonly (readonly number[])[], options: GenerateOptions, on = model): Promise<number[][]> {
  const out: number[][] = rows.map(() => []);
  for await (const { row, token } of on.generateBatch(rows, options)) out[row].push(token);
  return out;
}

/** Tokens by their definition: the model on the whole text, every time. */
async function slowly(prompt: readonly number[], count: number): Promise<number[]> {
  const text = [...prompt];
  for (let i = 0; i < count; i++) {
    const logits = model.lastLogits([text]);
    const values = await logits.data();
    logits.dispose();
    text.push(values.indexOf(Math.max(...values)));
  }
  return text.slice(prompt.length);
}

describe("a batch of prompts of different lengths", () => {
  test("is continued as each is alone, and as without a cache", async () => {
    const options = { temperature: 0, maxNewTokens: 12 };
    const together = await batch(prompts, options);
    for (const [row, prompt] of prompts.entries()) {
      expect(together[row]).toEqual((await batch([prompt], options))[0]);
      expect(together[row]).toEqual(await slowly(prompt, 12));
    }
  });

  test("draws what a row draws beside others, in chunks and reads of any size", async () => {
    const options = { ...sampled, maxNewTokens: 21 };
    const all = await batch(prompts, options);
    expect(new Set(all.flat()).size).toBeGreaterThan(8);
    for (const more of [{ readEvery: 1 }, { readEvery: 7 }, { prefillChunk: 1 }, { prefillChunk: 5, readEvery: 100 }])
      expect([more, await batch(prompts, { ...options, ...more })]).toEqual([more, all]);
    expect(await batch(prompts.slice(0, 2), options)).toEqual(all.slice(0, 2));
    expect(await batch([prompts[0]], options)).toEqual(all.slice(0, 1));
  });

  test("draws differently for rows of one prompt and for other seeds", async () => {
    const [a, b] = await batch([prompts[0], prompts[0]], sampled);
    expect(a).not.toEqual(b);
    expect((await batch([prompts[0]], { ...sampled, seed: 6 }))[0]).not.toEqual(a);
  });

  test("ends each row at its own stop, which is not given out", async () => {
    const free = await batch(prompts, { temperature: 0, maxNewTokens: 12 });
    const stop = [free[0][4]];
    const stopped = await batch(prompts, { temperature: 0, maxNewTokens: 12, stop, readEvery: 3 });
    expect(stopped).toEqual(free.map((row) => (row.includes(stop[0]) ? row.slice(0, row.indexOf(stop[0])) : row)));
  });

  test("ends each row where the model's positions do", async () => {
    const small = new CausalLM({ ...sizes, max_position_embeddings: 12 });
    const rows = await batch(prompts.slice(0, 3), { temperature: 0 }, small);
    expect(rows.map((row) => row.length)).toEqual([6, 12, 10]); // the last token needs no position
    expect(rows[1].slice(0, 3)).toEqual((await batch([prompts[1]], { temperature: 0, maxNewTokens: 3 }, small))[0]);
    small.dispose();
  });
});

test("a decode step launches little, and creates no pipeline, buffer or bind group", async () => {
  const now = () => ({
    created: gpu.pool.stats.created,
    live: gpu.pool.stats.liveBuffers,
    pipelines: gpu.stats.pipelines,
    groups: gpu.stats.bindGroupsCreated,
  });
  const steady: ReturnType<typeof now>[] = [];
  const dispatches: number[] = [];
  let made = 0;
  for await (const _ of model.generateBatch(prompts.slice(0, 2), { ...sampled, maxNewTokens: 300, readEvery: 10 })) {
    if (++made % 20 !== 2) continue;
    steady.push(now());
    dispatches.push(gpu.stats.dispatches);
  }
  for (const state of steady.slice(3)) expect(state).toEqual(steady[3]);
  const perStep = (dispatches[10] - dispatches[5]) / 50;
  expect(perStep).toBeLessThanOrEqual(9 * sizes.num_hidden_layers + 4);
});

test("a single stream's step launches few: norms, gating and heads are part of what comes next", async () => {
  const at: number[] = [];
  for await (const _ of model.generate(prompts[0], { maxNewTokens: 40, readEvery: 10 })) at.push(gpu.stats.dispatches);
  expect((at[29] - at[9]) / 20).toBeLessThanOrEqual((cpu ? 5 : 6) * sizes.num_hidden_layers + 4);
});

describe.skipIf(!gpu.target.f16)("in f16", () => {
  test("a batch is continued as each of it is alone, in as few launches, by weights as they now are", async () => {
    const half = new CausalLM(sizes).half();
    const options = { temperature: 0, maxNewTokens: 9 };
    const together = await batch(prompts, options, half);
    for (const [row, prompt] of prompts.entries())
      expect(together[row]).toEqual((await batch([prompt], options, half))[0]);
    const at: number[] = [];
    for await (const _ of half.generate(prompts[0], { maxNewTokens: 40, readEvery: 10 })) at.push(gpu.stats.dispatches);
    expect((at[29] - at[9]) / 20).toBeLessThanOrEqual((cpu ? 5 : 6) * sizes.num_hidden_layers + 4);

    const entries = [...model.stateDict()].map(async ([name, p]) => [name, { shape: p.shape, data: await p.data() }]);
    half.loadStateDict(new Map((await Promise.all(entries)) as never));
    expect((await batch([prompts[0]], options, half))[0]).toEqual(await slowly(prompts[0], 9));
    const logits = [model, half].map((lm) => lm.lastLogits([prompts[3]]));
    const [exact, rounded] = await Promise.all(logits.map((l) => l.data()));
    for (const l of logits) l.dispose();
    expect(worst(rounded, exact)).toBeLessThan(2e-2);
    half.dispose();
  });
});

test("half refuses an adapter without f16", () => {
  const { f16 } = gpu.target;
  gpu.target.f16 = false;
  try {
    expect(() => model.half()).toThrow(/half: .* has no f16; stay with f32/);
  } finally {
    gpu.target.f16 = f16;
  }
  expect(model.model.precision).toBe("f32");
});

test("memory grows with the prompt by its cache alone", async () => {
  const peak = async (length: number) => {
    gpu.pool.resetPeak();
    const before = gpu.pool.stats.liveBytes;
    await batch([new Array(length).fill(3)], { maxNewTokens: 4, prefillChunk: 32 });
    return gpu.pool.stats.peakBytes - before;
  };
  await peak(512); // the rotary table grows to its last length
  const cache = (length: number) => 4 * 2 * sizes.num_hidden_layers * length * sizes.hidden_size * 0.5; // f32 k and v of one head of two
  expect((await peak(512)) - (await peak(64))).toBeLessThan(1.2 * (cache(512) - cache(64))); // sizes of buffers come in steps
});

test("other work of the model between tokens changes none of them", async () => {
  const options = { ...sampled, maxNewTokens: 40 };
  const [expected] = await batch([prompts[0]], options);
  const tokens: number[] = [];
  for await (const token of model.generate(prompts[0], options)) {
    tokens.push(token);
    if (tokens.length % 8 === 0)
      model.lastLogits([Array.from({ length: 100 + tokens.length * 12 }, () => 3)]).dispose(); // outgrows the rotary table
  }
  expect(tokens).toEqual(expected);
});

test("goes on behind what a kept cache holds as it does without one, and leaves the cache to its owner", async () => {
  const cache = model.newCache(1, 64);
  const options = { temperature: 0, maxNewTokens: 9 };
  const first = (await batch([prompts[3]], { ...options, cache }))[0];
  expect(first).toEqual((await batch([prompts[3]], options))[0]);
  const text = [...prompts[3], ...first.slice(0, 5), 11, 12, 13];
  for (const kept of [prompts[3].length + 5, 4, 0]) {
    cache.truncate(kept);
    expect(await batch([text], { ...options, cache })).toEqual(await batch([text], options));
  }
  cache.truncate(3);
  expect((await batch([text], { ...options, maxNewTokens: 100, cache }))[0].length).toBe(64 - text.length + 1);
  cache.truncate(text.length);
  await expect(batch([text], { cache })).rejects.toThrow(
    `generate: the cache holds ${text.length} tokens, expected fewer than the prompt's ${text.length}; truncate it`,
  );
  await expect(batch([text, text], { cache })).rejects.toThrow(
    "the cache has 1 rows, expected one for each of 2 prompts",
  );
  cache.dispose();
});

test("a cache of another model or dtype is refused, and so is keeping what it cannot hold", async () => {
  const other = new CausalLM(model.config);
  const cache = other.newCache(1, 16);
  await expect(batch([[1, 2]], { cache })).rejects.toThrow(
    "model: the cache is another model's, expected one of this model's newCache in f32",
  );
  other.model.precision = "f16";
  expect(() => other.lastLogits([[1, 2]], { cache })).toThrow("model: the cache holds f32");
  other.model.precision = "f32";
  other.lastLogits([[1, 2]], { cache }).dispose();
  for (const kept of [-1, 0.5, 3, Number.NaN])
    expect(() => cache.truncate(kept)).toThrow(`KVCache: cannot keep ${kept} tokens of 2`);
  cache.setLengths([2]);
  expect(() => cache.truncate(17)).toThrow("KVCache: cannot keep 17 tokens of at most 16");
  cache.dispose();
  other.dispose();
});

test("leaves nothing behind when it ends, is broken off or fails", async () => {
  await collectGarbage();
  const left = await leftBehind(async () => {
    await batch(prompts, { maxNewTokens: 30 });
    for await (const { row } of model.generateBatch(prompts, { maxNewTokens: 30 })) if (row === 2) break;
    await expect(batch([[1], []], {})).rejects.toThrow("generate: prompt 1 is empty, expected one token at least");
    await expect(batch([[1]], { topP: 0 })).rejects.toThrow("generate: topP is 0, expected more than 0, at most 1");
  });
  expect(left).toBe(0);
});

test("weights that are broken give an error, not a token", async () => {
  const broken = new CausalLM(sizes);
  broken.model.norm.weight.write(new Float32Array(32).fill(Number.NaN));
  await collectGarbage();
  const left = await leftBehind(() =>
    expect(batch(prompts, { maxNewTokens: 30 }, broken)).rejects.toThrow(
      "generate: the logits of row 0 are NaN, Infinity, or all -Infinity",
    ),
  );
  expect(left).toBe(0);
  broken.dispose();
});

test("no prompts and no tokens are no work", async () => {
  expect(await batch([], {})).toEqual([]);
  expect(await batch([[1]], { maxNewTokens: 0 })).toEqual([[]]);
});

const wrong: [readonly number[], GenerateOptions, string][] = [
  [[], {}, "generate: the prompt is empty, expected one token at least"],
  [[1, 50], {}, "generate: the prompt holds 50 (position 1), outside the vocabulary of 50"],
  [new Array(600).fill(1), {}, "generate: the prompt's 600 tokens fill all 600 positions of the model; shorten it"],
  [[1], { temperature: -1 }, "generate: temperature is -1, expected 0 or more"],
  [[1], { topK: 1.5 }, "generate: topK is 1.5, expected a whole number, 0 or more"],
  [[1], { repetitionPenalty: 0 }, "generate: repetitionPenalty is 0, expected more than 0"],
  [[1], { readEvery: 0 }, "generate: readEvery is 0, expected a whole number, 1 or more"],
  [[1], { prefillChunk: 0 }, "generate: prefillChunk is 0, expected a whole number, 1 or more"],
  [[1], { maxNewTokens: -1 }, "generate: maxNewTokens is -1, expected a whole number, 0 or more"],
];
for (const [prompt, options, message] of wrong)
  test(`refuses: ${message}`, () => expect(model.generate(prompt, options).next()).rejects.toThrow(message));
