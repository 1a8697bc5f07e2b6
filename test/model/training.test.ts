import { describe, expect, test } from "bun:test";
import { noGrad } from "../../framework/autograd/graph.ts";
import { CausalLM } from "../../framework/model/causalLM.ts";
import { AdamW } from "../../framework/optim/index.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import { scope } from "../../framework/tensor/scope.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { collectGarbage, gpu, leftBehind, worst } from "../ops/support.ts";
import { referenceCases } from "./referenceCases.ts";

for (const name of ["dense", "yarn", "moe"] as const) referenceCases(name);

interface SteadyStep {
  precision: "f32" | "f16";
  checkpointing?: boolean;
  passes?: number;
  packed?: boolean;
  experts?: number;
}

const sizes = {
  vocab_size: 50,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 64,
  max_position_embeddings: 64,
};

describe("a small model", () => {
  manualSeed(1);
  const model = new CausalLM(sizes);
  const tokens = [[1, 2, 3, 4, 5, 6]];

  test("gives the same logits with a cache as without", async () => {
    const whole = noGrad(() => model.forward(tokens)).slice(1, -1);
    const cache = model.newCache(1, 8);
    model.lastLogits([[1, 2, 3]], { cache }).dispose();
    model.lastLogits([[4, 5]], { cache }).dispose();
    const last = model.lastLogits([[6]], { cache });
    expect(worst(await last.data(), await whole.data())).toBeLessThan(1e-5);
    cache.dispose();
  });

  test("its labels' log-probabilities are those of its logits, and their sum minus its loss", async () => {
    const labels = [[2, 3, 4, -100, 6, 49]];
    const found = noGrad(() => model.logProbs(tokens, labels));
    expect(found.shape).toEqual([1, 6]);
    const logits = (await noGrad(() => model.forward(tokens).logSoftmax()).tolist()) as number[][][];
    const expected = labels[0].map((label, t) => (label === -100 ? 0 : logits[0][t][label]));
    expect(worst(await found.data(), expected)).toBeLessThan(1e-5);
    const loss = noGrad(() => model.loss(tokens, labels, { reduction: "sum" }));
    expect(await found.sum().item()).toBeCloseTo(-(await loss.item()), 4);
  });

  test("packed documents do not see each other", async () => {
    const segments = Tensor.from(Int32Array.of(0, 0, 0, 1, 1, 1), { shape: [1, 6] });
    const positions = Tensor.from(Int32Array.of(0, 1, 2, 0, 1, 2), { shape: [1, 6] });
    const packed = noGrad(() => model.forward(tokens, { segments, positions })).slice(1, -1);
    const alone = noGrad(() => model.forward([[4, 5, 6]])).slice(1, -1);
    expect(worst(await packed.data(), await alone.data())).toBeLessThan(1e-5);
  });

  test("draws the same tokens from the same seed, and others from another", async () => {
    const draw = async (seed: number) => {
      const out: number[] = [];
      for await (const t of model.generate([1, 2], {
        seed,
        maxNewTokens: 12,
        topK: 40,
        topP: 0.95,
        repetitionPenalty: 1.1,
      }))
        out.push(t);
      return out.join();
    };
    expect(await draw(5)).toBe(await draw(5));
    expect(await draw(5)).not.toBe(await draw(6));
  });

  test.skipIf(!gpu.target.f16)("continues in f16 as in f32, where no two tokens are close", async () => {
    const greedy = async () => {
      const out: number[] = [];
      for await (const t of model.generate([1, 2, 3], { temperature: 0, maxNewTokens: 6 })) out.push(t);
      return out;
    };
    const exact = await greedy();
    model.model.precision = "f16";
    expect(await greedy()).toEqual(exact);
    model.model.precision = "f32";
  });

  test("generation leaves nothing behind, even when it is broken off", async () => {
    await collectGarbage();
    const left = await leftBehind(async () => {
      for await (const token of model.generate([1, 2, 3], { maxNewTokens: 10 })) if (token >= 0) break;
      for await (const _ of model.generate([1, 2, 3], { maxNewTokens: 5, temperature: 0 }));
    });
    expect(left).toBe(0);
  });

  test("refuses tokens outside its vocabulary, ragged rows, and texts that are too long", () => {
    expect(() => model.forward([[1, 50]])).toThrow(
      "model: tokens hold 50 (row 0, position 1), outside the vocabulary of 50",
    );
    expect(() => model.forward([[1, 2], [1]])).toThrow("model: row 1 of the tokens has 1 entries, the first has 2");
    expect(() => model.forward([new Array(65).fill(1)])).toThrow(
      "model: 65 tokens are more than max_position_embeddings, 64",
    );
  });

  test("refuses sizes that do not fit", () => {
    expect(() => new CausalLM({ ...sizes, num_key_value_heads: 3 })).toThrow(
      "num_attention_heads 2 is no multiple of num_key_value_heads 3",
    );
    expect(() => new CausalLM({ ...sizes, hidden_size: 0.5 })).toThrow(
      "model config: hidden_size is 0.5, expected a positive whole number",
    );
  });

  test("Llama's shape has no q and k norm, and an untied head has weights of its own", () => {
    const llama = new CausalLM({ ...sizes, model_type: "llama", tie_word_embeddings: false });
    const names = [...llama.namedParameters().keys()];
    expect(names.some((n) => n.includes("q_norm"))).toBe(false);
    expect(names).toContain("lm_head.weight");
    llama.dispose();
  });

  test.each([false, true])(
    "a layer takes 45 dispatches a step at most, forward, backward and update (f16: %p)",
    (half) => {
      if (half && !gpu.target.f16) return;
      const precision = half ? "f16" : "f32";
      const dispatches = (layers: number) => {
        const deep = new CausalLM({ ...sizes, num_hidden_layers: layers });
        deep.model.precision = precision;
        const optimizer = new AdamW(deep.namedParameters(), { precision });
        const { gradientScale } = optimizer;
        const before = gpu.stats.dispatches;
        scope(() => {
          optimizer.zeroGrad();
          const loss = deep.loss(tokens, [[2, 3, 4, 5, 6, -100]], { gradientScale });
          loss.backward();
          optimizer.step({ clip: 1, loss });
        });
        const made = gpu.stats.dispatches - before;
        optimizer.dispose();
        deep.dispose();
        return made;
      };
      const [one, eight] = [dispatches(1), dispatches(8)];
      expect((eight - one) / 7).toBeLessThanOrEqual(45);
      expect(eight).toBeLessThanOrEqual(450);
    },
  );

  test.each([
    { precision: "f32" },
    { precision: "f16", checkpointing: true },
    { precision: "f32", passes: 2, packed: true },
    { precision: "f16", passes: 2, experts: 2 },
  ] as SteadyStep[])("a steady training step creates no buffer, pipeline or bind group: %j", async (given) => {
    const { precision, checkpointing = false, passes = 1, packed, experts: num_experts = 0 } = given;
    if (precision === "f16" && !gpu.target.f16) return;
    const trained = new CausalLM({ ...sizes, num_experts });
    trained.model.checkpointing = checkpointing;
    trained.model.precision = precision;
    const optimizer = new AdamW(trained.namedParameters(), { precision });
    const { gradientScale } = optimizer;
    const step = () =>
      scope(() => {
        optimizer.zeroGrad();
        const segments = packed ? Tensor.from(Int32Array.of(0, 0, 0, 1, 1, 1), { shape: [1, 6] }) : undefined;
        const losses = Array.from({ length: passes }, () => {
          const loss = trained.loss(tokens, [[2, 3, 4, 5, 6, -100]], { gradientScale, segments });
          loss.backward();
          return loss;
        });
        optimizer.step({ clip: 1, loss: losses[0] });
      });
    for (let i = 0; i < 6; i++) step();
    const now = () => ({
      buffers: gpu.pool.stats.created,
      pipelines: gpu.stats.pipelines,
      groups: gpu.stats.bindGroupsCreated,
    });
    const before = now();
    for (let i = 0; i < 3; i++) step();
    expect(now()).toEqual(before);
    await gpu.finish();
    optimizer.dispose();
    trained.dispose();
  });
});
