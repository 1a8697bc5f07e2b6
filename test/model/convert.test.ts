import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noGrad } from "../../framework/autograd/graph.ts";
import { fromFloat32, type HostTensor } from "../../framework/checkpoint/host.ts";
import { openCheckpoint } from "../../framework/checkpoint/load.ts";
import { writePth } from "../../framework/checkpoint/pthWrite.ts";
import { writeSafetensorsFolder } from "../../framework/checkpoint/shards.ts";
import { CausalLM } from "../../framework/model/causalLM.ts";
import type { ModelConfig } from "../../framework/model/config.ts";
import { planGguf } from "../../framework/model/exportGguf.ts";
import { planHuggingFace, planPth } from "../../framework/model/exportHf.ts";
import type { ExportPlan } from "../../framework/model/exportPlan.ts";
import { huggingFaceConfig, loadModel, saveModel } from "../../framework/model/load.ts";
import { halvesToNeighbours, neighboursToHalves } from "../../framework/model/rows.ts";
import { parameterShapes } from "../../framework/model/sizes.ts";
import { openWeights } from "../../framework/model/weights.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import { Tokenizer, trainTokenizer } from "../../framework/text/tokenizer.ts";
import { noise, worst } from "../ops/support.ts";

const home = mkdtempSync(join(tmpdir(), "micromind-convert-"));
afterAll(() => rmSync(home, { recursive: true }));

const sizes = {
  ...{ vocab_size: 300, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, num_key_value_heads: 1 },
  ...{ intermediate_size: 64, max_position_embeddings: 64, rope_theta: 500, rms_norm_eps: 1e-5 },
};
const kinds: Record<string, Partial<ModelConfig>> = {
  qwen3: { ...sizes, model_type: "qwen3" },
  "qwen3, untied": { ...sizes, model_type: "qwen3", tie_word_embeddings: false },
  qwen3_moe: { ...sizes, model_type: "qwen3_moe", num_experts: 3, num_experts_per_tok: 2, moe_intermediate_size: 32 },
  qwen2: { ...sizes, model_type: "qwen2" },
  llama: { ...sizes, model_type: "llama" },
};
const tokenizer = await trainTokenizer(["a text, another text, one more text"], { vocabSize: 290 });
const tokens = [[1, 2, 3, 250, 5, 6, 299]];
const logitsOf = async (model: CausalLM) => {
  const logits = (await noGrad(() => model.forward(tokens)).data()) as Float32Array<ArrayBuffer>;
  model.dispose();
  return logits;
};

/** A folder of a model whose weights are large and whose norms and biases are not what they begin with, and its logits. */
async function original(kind: string): Promise<{ folder: string; logits: Float32Array<ArrayBuffer> }> {
  const folder = join(home, kind);
  manualSeed(3);
  const model = new CausalLM(kinds[kind]!);
  let seed = 0;
  for (const p of model.parameters()) p.write(noise(p.size, ++seed).map((v) => v / 4 + (p.rank === 1 ? 0.7 : 0)));
  await saveModel(model, folder);
  return { folder, logits: await logitsOf(model) };
}

async function there(plan: ExportPlan, name: string): Promise<string> {
  const path = join(home, name);
  let bytes = 0;
  await plan.write(path, (count) => (bytes += count));
  expect(bytes).toBe(plan.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0));
  return path;
}

describe("MiniMind 2's experts, one of them shared", () => {
  const experts = { num_experts: 3, num_experts_per_tok: 2, n_shared_experts: 1, moe_intermediate_size: 32 };
  const config: Partial<ModelConfig> = { ...sizes, intermediate_size: 32, ...experts, model_type: "llama" };

  test("come back from its config, from a .pth whose sizes are told by shapes, and from its early names", async () => {
    kinds["minimind2-moe"] = config;
    const { folder, logits } = await original("minimind2-moe");
    const json = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    expect(json).toMatchObject({ model_type: "minimind", use_moe: true, n_routed_experts: 3, n_shared_experts: 1 });
    const hf = await there(planHuggingFace(openWeights(folder), "F32", tokenizer), "minimind2-hf");
    expect(await logitsOf(await loadModel(hf))).toEqual(logits);
    const pth = await there(planPth(openWeights(hf), "F32"), "minimind2.pth");
    const given = { num_attention_heads: 2, rope_theta: 500, max_position_embeddings: 64 };
    const told = openWeights(pth, { config: given, infer: true });
    expect(told.config).toMatchObject({ ...experts, model_type: "llama" });
    expect(await logitsOf(await loadModel(pth, { config: told.config }))).toEqual(logits);
    const names = told.names().map((name) => name.replace("shared_experts.0.", "shared_experts."));
    const early = new Map(names.map((name, i) => [name, told.get(told.names()[i]!)] as const));
    await writePth(
      join(home, "early.pth"),
      new Map([...early].map(([name, t]) => [name, { ...t, data: () => t.data }])),
      {},
    );
    expect(await logitsOf(await loadModel(join(home, "early.pth"), { config: told.config }))).toEqual(logits);
  });

  test("have no architecture in llama.cpp", () => {
    expect(() => planGguf(openWeights(join(home, "minimind2-moe")), "F32", tokenizer)).toThrow(
      "llama.cpp has no architecture with shared experts",
    );
  });
});

for (const [kind, config] of Object.entries(kinds)) {
  describe(kind, () => {
    test("the parameters' shapes are told without a device", () => {
      const model = new CausalLM(config);
      const own = [...model.namedParameters()].map(([name, p]): [string, number[]] => [name, [...p.shape]]);
      expect(Object.fromEntries(parameterShapes(model.config))).toEqual(Object.fromEntries(own));
      model.dispose();
    });

    test("there and back in f32 gives the same logits, bit for bit", async () => {
      const { folder, logits } = await original(kind);
      const hf = await there(planHuggingFace(openWeights(folder), "F32", tokenizer), `${kind}-hf`);
      expect(await logitsOf(await loadModel(hf))).toEqual(logits);
      const gguf = await there(planGguf(openWeights(hf), "F32", tokenizer), `${kind}.gguf`);
      expect(await logitsOf(await loadModel(gguf))).toEqual(logits);
      const pth = await there(planPth(openWeights(gguf), "F32"), `${kind}.pth`);
      expect(await logitsOf(await loadModel(pth, { config }))).toEqual(logits);
    });

    test("BF16 and Q8_0 are near", async () => {
      const { folder, logits } = await original(kind);
      const largest = Math.max(...Array.from(logits, Math.abs));
      const bf16 = await there(planHuggingFace(openWeights(folder), "BF16", tokenizer), `${kind}-bf16`);
      expect(openCheckpoint(bf16).info("model.norm.weight").dtype).toBe("BF16");
      expect(worst(await logitsOf(await loadModel(bf16)), logits)).toBeLessThan(0.05 * largest);
      const q8 = await there(planGguf(openWeights(folder), "Q8_0", tokenizer), `${kind}-q8.gguf`);
      expect(worst(await logitsOf(await loadModel(q8)), logits)).toBeLessThan(0.05 * largest);
    });
  });
}

test("a Hugging Face folder holds what transformers reads", async () => {
  const { folder } = await original("qwen3");
  const hf = await there(planHuggingFace(openWeights(folder), "F16", tokenizer), "files");
  const json = (name: string) => JSON.parse(readFileSync(join(hf, name), "utf8"));
  expect(json("config.json")).toMatchObject({
    ...{ architectures: ["Qwen3ForCausalLM"], model_type: "qwen3", torch_dtype: "float16", head_dim: 16 },
    ...{ bos_token_id: 1, eos_token_id: 2, pad_token_id: 0, tie_word_embeddings: true },
  });
  expect(json("generation_config.json")).toEqual({
    do_sample: true,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
  });
  expect(json("special_tokens_map.json").eos_token).toBe("<|im_end|>");
  expect(json("tokenizer_config.json").chat_template).toBe(tokenizer.chatTemplate);
  const bare = new Tokenizer(tokenizer.toJSON());
  const other = await there(planHuggingFace(openWeights(folder), "F16", bare), "bare");
  for (const written of [hf, other])
    expect(JSON.parse(readFileSync(join(written, "tokenizer_config.json"), "utf8")).model_input_names).toEqual([
      "input_ids",
      "attention_mask",
    ]);
  expect(existsSync(join(hf, "tokenizer.json"))).toBe(true);
});

test("a run's config.json names the tokens that begin and end a text", async () => {
  const model = new CausalLM(kinds.qwen3!);
  await saveModel(model, join(home, "run"), tokenizer);
  model.dispose();
  const config = JSON.parse(readFileSync(join(home, "run/config.json"), "utf8"));
  expect(config).toMatchObject({ bos_token_id: 1, eos_token_id: 2, pad_token_id: 0 });
});

test("shards, BF16 and a config in the words of transformers 5 are read", async () => {
  const { folder, logits } = await original("qwen2");
  const weights = openWeights(folder);
  const shards = join(home, "shards");
  mkdirSync(shards);
  const all = weights.names().map((name): [string, HostTensor] => [name, weights.get(name)]);
  expect((await writeSafetensorsFolder(shards, new Map(all), { maxShardBytes: 20_000 })).length).toBeGreaterThan(3);
  const { rope_theta, rope_scaling, ...config } = huggingFaceConfig(weights.config);
  const json = { ...config, rope_parameters: { rope_type: "default", rope_theta } };
  writeFileSync(join(shards, "config.json"), JSON.stringify(json));
  expect(await logitsOf(await loadModel(shards))).toEqual(logits);
});

test("a folder that leaves keys out has Hugging Face's defaults", async () => {
  const { folder } = await original("qwen3, untied");
  const file = join(folder, "config.json");
  const { rope_theta, tie_word_embeddings, num_key_value_heads, ...config } = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify({ ...config, num_key_value_heads }));
  expect(openWeights(folder).config).toMatchObject({ rope_theta: 10_000, tie_word_embeddings: false });
});

test("Meta's names of MiniMind's first models are told from the names, rotary neighbours and all", async () => {
  const { folder, logits } = await original("llama");
  const weights = openWeights(folder);
  const old = (name: string) =>
    name
      .replace("model.embed_tokens", "tok_embeddings")
      .replace(/^model\./, "")
      .replace(/self_attn\.(.)_proj/, "attention.w$1")
      .replace("input_layernorm", "attention_norm")
      .replace("post_attention_layernorm", "ffn_norm")
      .replace(/mlp\.(gate|down|up)_proj/, (_, part) => `feed_forward.w${{ gate: 1, down: 2, up: 3 }[part as "up"]}`);
  const tensors = weights.names().map((name): [string, HostTensor] => {
    const heads = /([qk])_proj/.exec(name)?.[1];
    const tensor = weights.get(name);
    return [`module.${old(name)}`, heads ? halvesToNeighbours(tensor, heads === "q" ? 2 : 1) : tensor];
  });
  const mask = fromFloat32(new Float32Array(4), [2, 2]);
  const path = join(home, "meta.pth");
  const tied = { "module.output.weight": "module.tok_embeddings.weight" };
  await writePth(path, new Map([...tensors, ["module.layers.0.attention.mask", mask]]), tied);
  const given = { num_attention_heads: 2, rope_theta: 500 };
  const read = openWeights(path, { infer: true, config: given });
  expect(read.problems).toEqual([]);
  expect(read.config).toMatchObject({ ...sizes, max_position_embeddings: 32768, tie_word_embeddings: true });
  expect([...read.assumed].sort()).toEqual(["max_position_embeddings 32768", "rms_norm_eps 0.00001"]);
  expect(await logitsOf(await loadModel(path, { config: read.config }))).toEqual(logits);
});

test("Llama 3's scaling of rotary angles is not written to GGUF", () => {
  const weights = openWeights(join(home, "llama"));
  const rope_scaling = {
    ...{ type: "llama3" as const, factor: 8, original_max_position_embeddings: 64 },
    ...{ low_freq_factor: 1, high_freq_factor: 4 },
  };
  expect(() => planGguf({ ...weights, config: { ...weights.config, rope_scaling } }, "F32", tokenizer)).toThrow(
    "llama3's scaling of rotary angles is not written to GGUF; write hf",
  );
});

test("rows by neighbours and by halves are each other's way back", () => {
  const rows = fromFloat32(
    Float32Array.from({ length: 16 }, (_, i) => i),
    [8, 2],
    "F16",
  );
  expect([...neighboursToHalves(rows, 2).data].filter((_, i) => i % 2 === 0)).toEqual([0, 4, 2, 6, 8, 12, 10, 14]);
  expect(halvesToNeighbours(neighboursToHalves(rows, 2), 2)).toEqual(rows);
});

test("sizes that no config tells are MiniMind's, and said", async () => {
  const weights = (hidden: number, kv: number) =>
    new Map(
      [...parameterShapes({ ...openWeights(join(home, "llama")).config, hidden_size: hidden })].map(([name, shape]) => {
        const rows = /[kv]_proj/.test(name) ? kv : /q_proj/.test(name) ? hidden : shape[0]!;
        const whole = /o_proj/.test(name) ? [hidden, hidden] : [rows, ...shape.slice(1)];
        return [name, fromFloat32(new Float32Array(whole.reduce((a, b) => a * b)), whole)] as [string, HostTensor];
      }),
    );
  const inferred = async (hidden: number, kv: number) => {
    const path = join(home, `${hidden}-${kv}.pth`);
    await writePth(path, weights(hidden, kv));
    return openWeights(path, { infer: true }).config;
  };
  const heads = { num_attention_heads: 8, num_key_value_heads: 2, rms_norm_eps: 1e-5, rope_theta: 1e6 };
  await expect(inferred(64, 16)).resolves.toMatchObject(heads);
  await expect(inferred(64, 32)).resolves.toMatchObject({
    num_attention_heads: 16,
    num_key_value_heads: 8,
    rope_theta: 1e4,
  });
  await expect(inferred(48, 16)).rejects.toThrow("shapes do not tell how many heads; give model.num_attention_heads");
  const told = openWeights(join(home, "48-16.pth"), { infer: true, config: { num_key_value_heads: 2 } });
  expect(told.config).toMatchObject({ num_attention_heads: 6, num_key_value_heads: 2, head_dim: 8 });
  expect(told.assumed.join()).not.toContain("heads");
});

test("models of other kinds are refused by name", async () => {
  const { folder } = await original("llama");
  const file = join(folder, "config.json");
  const config = JSON.parse(readFileSync(file, "utf8"));
  const refused = (change: object) => {
    writeFileSync(file, JSON.stringify({ ...config, ...change }));
    return expect(() => openWeights(folder));
  };
  refused({ model_type: "gemma2" }).toThrow('model_type is "gemma2", expected one of qwen3, qwen3_moe, llama');
  refused({ hidden_act: "gelu" }).toThrow('hidden_act is "gelu", which is not supported');
  refused({ attention_bias: true }).toThrow("attention_bias is true, which is not supported");
  const yarn = (change: object) => refused({ rope_scaling: { rope_type: "yarn", ...change } });
  yarn({ factor: 0.5 }).toThrow("rope_scaling.factor is 0.5, expected a number of 1 or more");
  yarn({ factor: "long" }).toThrow('rope_scaling.factor is "long", expected a number of 1 or more');
  yarn({ factor: 4, beta_fast: 1, beta_slow: 32 }).toThrow("rope_scaling.beta_fast 1 is not above beta_slow 32");
  writeFileSync(file, JSON.stringify({ ...config, num_hidden_layers: 1, intermediate_size: 96 }));
  expect(openWeights(folder).problems).toEqual([
    "model.layers.0.mlp.gate_proj.weight is [64, 32], the config asks for [96, 32]",
    "model.layers.0.mlp.up_proj.weight is [64, 32], the config asks for [96, 32]",
    "model.layers.0.mlp.down_proj.weight is [32, 64], the config asks for [32, 96]",
    ...openCheckpoint(folder)
      .names()
      .filter((name) => name.includes("layers.1."))
      .map((name) => `${name} is not in the model`),
  ]);
  await expect(loadModel(folder)).rejects.toThrow("and 2 more");
});

test("a number that F16 does not hold is named", async () => {
  const { folder } = await original("qwen3");
  const model = await loadModel(folder);
  model.model.norm.weight.write(new Float32Array(32).fill(70_000));
  await saveModel(model, folder);
  model.dispose();
  const plan = planPth(openWeights(folder), "F16");
  const path = join(home, "large.pth");
  const message = "tensor model.norm.weight: 70000 does not fit F16 (65,504 at most); take --dtype BF16 or F32";
  expect(() => plan.tensors.find(({ name }) => name === "model.norm.weight")!.check()).toThrow(message);
  await expect(plan.write(path, () => {})).rejects.toThrow(message);
  expect(existsSync(path)).toBe(false);
});

const reference = join(import.meta.dir, "../../../shared/reference");
describe.skipIf(!existsSync(reference))("PyTorch's models", () => {
  for (const name of ["dense", "moe", "lora", "yarn"])
    test(`${name}: sizes are told by shapes, and the logits stay PyTorch's through GGUF in F16`, async () => {
      const ref = JSON.parse(readFileSync(join(reference, `${name}.json`), "utf8"));
      const { rope_scaling } = ref.config; // which no shape tells
      const weights = openWeights(join(reference, `${name}.pth`), { infer: true, config: { rope_scaling } });
      const { max_position_embeddings, router_aux_loss_coef, ...told } = ref.config;
      expect(weights.config).toMatchObject(told);
      const gguf = await there(planGguf(weights, "F16", tokenizer), `${name}.gguf`);
      const model = await loadModel(gguf);
      const logits = noGrad(() => model.forward(ref.input_ids)).slice(1, 39, 40);
      expect(worst(await logits.data(), ref.logits_last.flat())).toBeLessThan(1e-4);
      model.dispose();
    });
});
