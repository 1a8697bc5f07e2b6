import { describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noGrad } from "../../framework/autograd/graph.ts";
import { openSafetensors, writeSafetensors } from "../../framework/checkpoint/safetensors.ts";
import { loadAdapter, saveAdapter } from "../../framework/model/adapter.ts";
import { CausalLM } from "../../framework/model/causalLM.ts";
import { loadModel } from "../../framework/model/load.ts";
import { LoraAdapter, type LoraOptions } from "../../framework/model/lora.ts";
import { AdamW, type Precision } from "../../framework/optim/index.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import { scope } from "../../framework/tensor/scope.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { collectGarbage, gpu, leftBehind, noise, worst } from "../ops/support.ts";

const folder = mkdtempSync(join(tmpdir(), "micromind-lora-"));
process.on("exit", () => rmSync(folder, { recursive: true, force: true }));

const sizes = {
  vocab_size: 50,
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  intermediate_size: 64,
  max_position_embeddings: 64,
  initializer_range: 0.3,
};
const options: LoraOptions = { rank: 2, alpha: 4, targets: ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"] };
const tokens = [[1, 2, 3, 4, 5, 6, 7, 8]];
const labels = [[2, 3, 4, 5, 6, 7, 8, -100]];
const tokenizer = { hash: () => "abc" };

/** An adapter that changes its model's answers. */
function adapterOf(model: CausalLM, more: Partial<LoraOptions> = {}): LoraAdapter {
  const adapter = new LoraAdapter(model, { ...options, ...more });
  let seed = 1;
  for (const { B } of adapter.pairs.values()) B.write(noise(B.size, seed++));
  return adapter;
}
const logits = async (model: CausalLM) => noGrad(() => scope(() => model.forward(tokens))).data();
async function greedy(model: CausalLM): Promise<number[]> {
  const out: number[] = [];
  for await (const token of model.generate([1, 2, 3], { temperature: 0, maxNewTokens: 8 })) out.push(token);
  return out;
}
const values = async (model: CausalLM) => {
  const all = [...model.namedParameters().values()].map(async (p) => [...(await p.data())]);
  return Promise.all(all);
};

const reference = join(import.meta.dir, "../../../shared/reference");
if (!existsSync(reference)) console.log("skip: PyTorch's reference numbers are not beside the project");

describe.skipIf(!existsSync(reference))("PyTorch's model with MiniMind's adapter", () => {
  const ref = existsSync(reference) ? JSON.parse(readFileSync(join(reference, "lora.json"), "utf8")) : {};
  test.each(["attached", "merged"])("has the same logits and loss (%p)", async (how) => {
    const model = await loadModel(join(reference, "lora.pth"), { config: ref.config });
    const adapter = await loadAdapter(model, join(reference, "lora_adapter.pth"));
    expect([...adapter.pairs.keys()].sort()).toEqual(ref.with_adapter.targets);
    if (how === "merged") adapter.merge();
    else adapter.attach();
    const last = noGrad(() => model.forward(ref.input_ids)).slice(1, 39, 40);
    expect(worst(await last.data(), ref.with_adapter.logits_last.flat())).toBeLessThan(1e-4);
    const next = ref.labels.map((row: number[]) => [...row.slice(1), -100]);
    const loss = await noGrad(() => model.loss(ref.input_ids, next)).item();
    expect(Math.abs(loss / ref.with_adapter.loss - 1)).toBeLessThan(1e-5);
    adapter.remove();
    const without = await noGrad(() => model.loss(ref.input_ids, next)).item();
    expect(Math.abs(without / ref.loss - 1)).toBeLessThan(1e-5);
  });
});

describe("an adapter of a small model", () => {
  manualSeed(1);
  const model = new CausalLM(sizes).freeze();

  test("merged gives the logits and the tokens of attached, and the base comes back bit for bit", async () => {
    const [base, before] = [await logits(model), await values(model)];
    const adapter = adapterOf(model).attach();
    const [attached, said] = [await logits(model), await greedy(model)];
    expect(worst(attached, base)).toBeGreaterThan(1e-2);
    adapter.merge();
    expect(worst(await logits(model), attached)).toBeLessThan(1e-5 * Math.max(...attached.map(Math.abs)));
    expect(await greedy(model)).toEqual(said);
    adapter.remove();
    expect(await values(model)).toEqual(before);
    expect(await logits(model)).toEqual(base);
    adapter.dispose();
  });

  test.skipIf(!gpu.target.f16)("is merged into the f16 copies of the weights too, and taken out of them", async () => {
    model.freeze({ halves: true });
    model.model.precision = "f16";
    const base = await logits(model);
    const adapter = adapterOf(model).merge();
    const merged = await logits(model);
    adapter.attach();
    const attached = await logits(model);
    expect(worst(attached, base)).toBeGreaterThan(0.5);
    expect(worst(merged, attached)).toBeLessThan(0.1);
    adapter.dispose();
    expect(await logits(model)).toEqual(base);
    model.model.precision = "f32";
  });

  test("is the only one in use, and leaves nothing behind", async () => {
    await collectGarbage();
    const left = await leftBehind(() => {
      const [one, two] = [adapterOf(model).merge(), adapterOf(model)];
      expect(() => two.attach()).toThrow("lora: another adapter is in use on this model; remove it first");
      one.remove();
      two.attach().merge().dispose();
      one.dispose();
    });
    expect(left).toBe(0);
  });

  test("gives the same logits with a cache as without, and within packed documents as alone", async () => {
    const adapter = adapterOf(model).attach();
    const whole = noGrad(() => model.forward(tokens)).slice(1, -1);
    const cache = model.newCache(1, 8);
    model.lastLogits([tokens[0].slice(0, 7)], { cache }).dispose();
    const last = model.lastLogits([[8]], { cache });
    expect(worst(await last.data(), await whole.data())).toBeLessThan(2e-5);
    cache.dispose();
    const segments = Tensor.from(Int32Array.of(0, 0, 0, 0, 1, 1, 1, 1), { shape: [1, 8] });
    const positions = Tensor.from(Int32Array.of(0, 1, 2, 3, 0, 1, 2, 3), { shape: [1, 8] });
    const packed = noGrad(() => model.forward(tokens, { segments, positions })).slice(1, -1);
    const alone = noGrad(() => model.forward([tokens[0].slice(4)])).slice(1, -1);
    expect(worst(await packed.data(), await alone.data())).toBeLessThan(2e-5);
    adapter.dispose();
  });

  /** Losses of a few steps of training the adapter alone. */
  async function trained(adapter: LoraAdapter, precision: Precision = "f32"): Promise<number[]> {
    model.model.precision = precision;
    const optimizer = new AdamW(adapter.namedParameters(), { learningRate: 0.02, precision });
    const losses: number[] = [];
    for (let step = 0; step < 6; step++) {
      const loss = scope(() => {
        optimizer.zeroGrad();
        const l = model.loss(tokens, labels, { gradientScale: optimizer.gradientScale });
        l.backward();
        optimizer.step({ clip: 1, loss: l });
        return l;
      });
      losses.push((await optimizer.report(loss)).loss);
      loss.dispose();
    }
    optimizer.dispose();
    model.model.precision = "f32";
    return losses;
  }
  async function fresh(more: Partial<LoraOptions> = {}, work = trained): Promise<number[]> {
    manualSeed(5);
    const adapter = new LoraAdapter(model, { ...options, ...more }).attach();
    const losses = await work(adapter);
    adapter.dispose();
    return losses;
  }

  test("learns while the base stays as it is, with recomputed activations as without", async () => {
    const before = await values(model);
    const losses = await fresh();
    expect(losses[5]).toBeLessThan(losses[0] - 0.3);
    expect(await values(model)).toEqual(before);
    expect(model.parameters().some((p) => p.grad !== undefined)).toBe(false);
    model.model.checkpointing = true;
    const again = await fresh();
    expect(worst(again, losses)).toBeLessThan(1e-5);
    const few = await fresh({ targets: ["model.layers.1.self_attn.q_proj"] });
    const dropping = await fresh({ dropout: 0.3 });
    model.model.checkpointing = false;
    expect(worst(await fresh({ targets: ["model.layers.1.self_attn.q_proj"] }), few)).toBeLessThan(1e-5);
    expect(worst(await fresh({ dropout: 0.3 }), dropping)).toBeLessThan(1e-5);
  });

  test.skipIf(!gpu.target.f16)(
    "learns in f16 as in f32, within 2%, with f16 copies of the base as without",
    async () => {
      const whole = await fresh();
      for (const halves of [false, true]) {
        model.freeze({ halves });
        const half = await fresh({}, (adapter) => trained(adapter, "f16"));
        for (const [i, loss] of half.entries()) expect(Math.abs(loss / whole[i] - 1)).toBeLessThan(0.02);
      }
    },
  );

  test("refuses targets that are not there, and ranks that are none", () => {
    expect(() => new LoraAdapter(model, { ...options, targets: ["q_proj", "qkv"] })).toThrow(
      'lora: targets hold "qkv", expected some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj',
    );
    expect(() => new LoraAdapter(model, { ...options, targets: [] })).toThrow("lora: targets are empty");
    expect(() => new LoraAdapter(model, { ...options, rank: 0 })).toThrow("lora: rank is 0");
  });

  describe("in files", () => {
    const path = join(folder, "adapter");
    const load = (from = path, on = model, more = {}) => loadAdapter(on, from, { tokenizer, ...more });
    const config = () => JSON.parse(readFileSync(join(path, "adapter_config.json"), "utf8"));

    test("is PEFT's folder, and comes back equal", async () => {
      model.eval(); // nothing is dropped
      const adapter = adapterOf(model, { dropout: 0.1 }).attach();
      const expected = await logits(model);
      await saveAdapter(adapter, path, { base: "out/sft", tokenizer });
      adapter.dispose();
      const file = openSafetensors(join(path, "adapter_model.safetensors"));
      expect(file.info("base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight").shape).toEqual([2, 32]);
      expect(file.names().length).toBe(20);
      expect(config()).toMatchObject({
        ...{ peft_type: "LORA", task_type: "CAUSAL_LM", base_model_name_or_path: "out/sft", bias: "none" },
        ...{ r: 2, lora_alpha: 4, lora_dropout: 0.1 },
        target_modules: ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"],
      });
      const loaded = (await load()).attach();
      expect(await logits(model)).toEqual(expected);
      model.train();
      loaded.dispose();
    });

    test("in F16 takes half the bytes, and comes back rounded", async () => {
      const adapter = adapterOf(model);
      const halved = join(folder, "halved");
      await saveAdapter(adapter, halved, { base: "out/sft", dtype: "F16" });
      const loaded = await load(halved);
      for (const [name, parameter] of loaded.namedParameters()) {
        const before = (await adapter.namedParameters().get(name)!.data()) as Float32Array;
        expect(await parameter.data()).toEqual(new Float32Array(new Float16Array(before)));
      }
      for (const one of [adapter, loaded]) one.dispose();
    });

    test("of some layers only names them by path", async () => {
      const paths = ["model.layers.1.self_attn.q_proj"];
      const adapter = adapterOf(model, { targets: paths });
      expect(adapter.targets()).toEqual(paths);
      adapter.dispose();
    });

    test("for another model is refused with what does not fit", async () => {
      const wider = new CausalLM({ ...sizes, hidden_size: 64, num_hidden_layers: 1 });
      await expect(load(path, wider)).rejects.toThrow(
        `${path}: the adapter is for another model: hidden_size 32, not 64; num_hidden_layers 2, not 1; head_dim 16, not 32`,
      );
      const file = join(path, "adapter_model.safetensors");
      await expect(load(file, wider)).rejects.toThrow(
        /does not fit this model:\n {2}.*up_proj\.lora_A\.weight is \[2, 32\], expected \[2, 64\]\n[\s\S]*and \d+ more$/,
      );
      await expect(load(path, model, { tokenizer: { hash: () => "other" } })).rejects.toThrow("another tokenizer");
      wider.dispose();
    });

    test("with half a pair, strangers, another kind or nothing at all is refused", async () => {
      const entry = (shape: number[]) => ({ shape, dtype: "F32" as const, data: new Float32Array(64) });
      const file = join(folder, "half.safetensors");
      const name = "model.layers.0.self_attn.o_proj.lora_A.weight";
      await writeSafetensors(file, { [name]: entry([2, 32]) });
      await expect(load(file)).rejects.toThrow(
        `${name}: its other half, model.layers.0.self_attn.o_proj.lora_B.weight, is missing`,
      );
      await writeSafetensors(file, { "model.norm.weight": entry([64]) });
      await expect(load(file)).rejects.toThrow("model.norm.weight is no part of a LoRA adapter");
      await writeSafetensors(file, { "model.layers.9.mlp.up_proj.lora_A.weight": entry([2, 32]) });
      await expect(load(file)).rejects.toThrow("the model has no layer model.layers.9.mlp.up_proj that takes one");
      await expect(load(folder)).rejects.toThrow("holds no adapter: there is no adapter_config.json");
      await expect(load(join(folder, "nowhere"))).rejects.toThrow("no such file or folder");
      const told = config();
      for (const [key, value] of [
        ["use_rslora", true],
        ["alora_invocation_tokens", [5, 6]],
        ["init_lora_weights", "pissa"],
      ] as const) {
        writeFileSync(join(path, "adapter_config.json"), JSON.stringify({ ...told, [key]: value }));
        await expect(load()).rejects.toThrow(`${key} is ${JSON.stringify(value)}, which is not supported`);
      }
      writeFileSync(join(path, "adapter_config.json"), JSON.stringify({ ...config(), peft_type: "IA3" }));
      await expect(load()).rejects.toThrow('peft_type is "IA3", expected "LORA"');
    });
  });
});
