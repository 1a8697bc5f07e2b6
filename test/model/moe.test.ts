import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noGrad } from "../../framework/autograd/graph.ts";
import { CausalLM } from "../../framework/model/causalLM.ts";
import { modelConfig, presets } from "../../framework/model/config.ts";
import { flopsPerToken } from "../../framework/model/cost.ts";
import { loadModel, saveModel } from "../../framework/model/load.ts";
import { full } from "../../framework/ops/pointwise.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import { scope } from "../../framework/tensor/scope.ts";
import type { Tensor } from "../../framework/tensor/tensor.ts";
import { worst } from "../ops/support.ts";

const sizes = {
  vocab_size: 50,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 64,
  max_position_embeddings: 64,
  num_experts: 4,
  num_experts_per_tok: 2,
  initializer_range: 0.2,
};

describe("a model of experts", () => {
  manualSeed(1);
  const model = new CausalLM(sizes);
  const tokens = [[1, 2, 3, 4, 5, 6]];
  const labels = [[2, 3, 4, 5, 6, -100]];
  const folder = mkdtempSync(join(tmpdir(), "micromind-moe-"));
  afterAll(() => {
    rmSync(folder, { recursive: true });
    model.dispose();
  });

  test("gives the same logits with a cache as without, and for each row of a batch as alone", async () => {
    const whole = noGrad(() => model.forward(tokens)).slice(1, -1);
    const cache = model.newCache(1, 8);
    model.lastLogits([[1, 2, 3, 4]], { cache }).dispose();
    model.lastLogits([[5]], { cache }).dispose();
    const last = model.lastLogits([[6]], { cache });
    expect(worst(await last.data(), await whole.data())).toBeLessThan(1e-5);
    cache.dispose();
    const alone: number[] = [];
    for await (const token of model.generate([1, 2], { temperature: 0, maxNewTokens: 6 })) alone.push(token);
    const rows: number[][] = Array.from({ length: 40 }, () => []);
    const prompts = rows.map((_, i) => (i === 5 ? [1, 2] : [i + 1, 7, 8]));
    for await (const { row, token } of model.generateBatch(prompts, { temperature: 0, maxNewTokens: 6 }))
      rows[row].push(token);
    expect(rows[5]).toEqual(alone);
  });

  test("the loss has the balance loss in it where a gradient is recorded, and not otherwise", async () => {
    const { loss, crossEntropy, auxLoss } = model.losses(tokens, labels);
    expect(await loss.item()).toBeCloseTo((await crossEntropy.item()) + ((await auxLoss?.item()) ?? 0), 5);
    expect(await auxLoss?.item()).toBeGreaterThan(2 * 2 * 5e-4 * 0.9); // layers · choices · coefficient where all share alike
    expect(await noGrad(() => model.loss(tokens, labels)).item()).toBeCloseTo(await crossEntropy.item(), 5);
    const sums = model.losses(tokens, labels, { reduction: "sum" });
    expect(await sums.auxLoss?.item()).toBeCloseTo(5 * ((await auxLoss?.item()) ?? 0), 6);
    const balance: Tensor[] = [];
    model.forward(tokens, { balance });
    expect(await model.auxLoss(balance).item()).toBeCloseTo((await auxLoss?.item()) ?? 0, 6);
  });

  test("gradientScale reaches both parts", async () => {
    const gradients = async (gradientScale?: Tensor) => {
      for (const p of model.parameters()) p.grad = undefined;
      scope(() => model.loss(tokens, labels, { gradientScale }).backward());
      return Promise.all(model.parameters().map((p) => (p.grad as Tensor).data()));
    };
    const plain = await gradients();
    const scaled = await gradients(full([], 8));
    for (const [i, g] of plain.entries())
      expect(
        worst(
          scaled[i],
          Array.from(g, (v) => 8 * v),
        ),
      ).toBeLessThan(1e-5);
  });

  test("is saved as transformers' Qwen3MoeForCausalLM, and comes back as it was", async () => {
    await saveModel(model, folder);
    const written = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    expect(written).toMatchObject({
      ...{ architectures: ["Qwen3MoeForCausalLM"], model_type: "qwen3_moe", num_experts: 4, num_experts_per_tok: 2 },
      ...{ moe_intermediate_size: 64, norm_topk_prob: true, decoder_sparse_step: 1, mlp_only_layers: [] },
    });
    const back = await loadModel(folder);
    expect(back.config).toEqual(model.config);
    const [a, b] = [model, back].map((m) => noGrad(() => m.forward(tokens)));
    expect(await b.data()).toEqual(await a.data());
    expect([...back.namedParameters().keys()].filter((name) => name.includes("layers.1.mlp.")).slice(0, 4)).toEqual([
      "model.layers.1.mlp.gate.weight",
      "model.layers.1.mlp.experts.0.gate_proj.weight",
      "model.layers.1.mlp.experts.0.up_proj.weight",
      "model.layers.1.mlp.experts.0.down_proj.weight",
    ]);
    back.dispose();
  });
});

describe("configs of experts", () => {
  test("MiniMind names experts in dense models' configs too", () => {
    expect(modelConfig({ ...sizes, use_moe: false }).num_experts).toBe(0);
    expect(modelConfig({ ...sizes, use_moe: true }).model_type).toBe("qwen3_moe");
    expect(modelConfig({ ...sizes, num_experts: 0 }).model_type).toBe("qwen3");
  });

  test("MiniMind 2's names are read, and its single expert's weight is left as it is", () => {
    const { num_experts, num_experts_per_tok, ...dense } = sizes;
    const given = { ...dense, model_type: "llama" as const, use_moe: true, n_routed_experts: 4, n_shared_experts: 1 };
    expect(modelConfig(given)).toMatchObject({
      num_experts: 4,
      num_experts_per_tok: 2,
      n_shared_experts: 1,
      norm_topk_prob: true,
    });
    expect(modelConfig({ ...given, num_experts_per_tok: 1 }).norm_topk_prob).toBe(false);
    expect(modelConfig({ ...given, use_moe: false })).toMatchObject({ num_experts: 0, n_shared_experts: 0 });
  });

  test.each([
    [{ num_experts_per_tok: 5 }, "num_experts_per_tok 5 is more than num_experts 4"],
    [{ num_experts: 1.5 }, "num_experts is 1.5, expected a whole number, 0 for none"],
    [{ model_type: "qwen2" as const }, 'experts come with model_type "qwen3_moe" or "llama" only, not "qwen2"'],
    [{ model_type: "qwen3_moe" as const, num_experts: 0 }, 'model_type "qwen3_moe" needs num_experts'],
    [{ n_shared_experts: 1.5 }, "n_shared_experts is 1.5, expected a whole number, 0 for none"],
    [{ mlp_only_layers: [0] }, "mix layers with and without experts, which is not supported"],
  ])("%p is refused", (more, message) => {
    expect(() => modelConfig({ ...sizes, ...more })).toThrow(message);
  });

  test("operations are counted for the experts that a token meets", () => {
    const [dense, one] = [modelConfig({ ...sizes, num_experts: 0 }), modelConfig({ ...sizes, num_experts_per_tok: 1 })];
    const router = 6 * 2 * 4 * 32;
    expect(flopsPerToken(one) - flopsPerToken(dense)).toBe(router);
    const whole = modelConfig(presets["moe-145m"]);
    expect(Math.round(flopsPerToken(whole) / 6e5) / 10).toBe(45.4);
  });
});
