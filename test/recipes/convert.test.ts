import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { fromFloat32, type HostTensor } from "../../framework/checkpoint/host.ts";
import { openCheckpoint } from "../../framework/checkpoint/load.ts";
import { writePth } from "../../framework/checkpoint/pthWrite.ts";
import { writeSafetensors } from "../../framework/checkpoint/safetensors.ts";
import { modelConfig } from "../../framework/model/config.ts";
import { huggingFaceConfig } from "../../framework/model/load.ts";
import { neighboursToHalves } from "../../framework/model/rows.ts";
import { parameterShapes } from "../../framework/model/sizes.ts";
import { openWeights } from "../../framework/model/weights.ts";
import { sizeOf } from "../../framework/tensor/shape.ts";
import { loadTokenizer, trainTokenizer } from "../../framework/text/tokenizer.ts";
import { noise } from "../kernels/launch.ts";
import { home, recipe } from "./support.ts";

const config = modelConfig({
  ...{ vocab_size: 300, hidden_size: 32, num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 1 },
  ...{ intermediate_size: 48, max_position_embeddings: 64 },
});
const random = (count: number, seed: number) => new Float32Array(noise(count, seed));
const at = (...parts: string[]) => join(home, "convert", ...parts);
mkdirSync(at(), { recursive: true });

// A run's folder, made without a device.
const tokenizer = await trainTokenizer(["a text, another text, one more text"], { vocabSize: 290 });
tokenizer.save(at("run"));
const weights = [...parameterShapes(config)].map(([name, shape], i): [string, HostTensor] => {
  return [name, fromFloat32(random(sizeOf(shape), i + 1), shape)];
});
await writeSafetensors(at("run", "model.safetensors"), new Map(weights));
writeFileSync(at("run", "config.json"), JSON.stringify(huggingFaceConfig(config)));

const convert = (...args: string[]) => recipe("convert.ts", args);

test("a run becomes a GGUF that @huggingface/gguf reads", async () => {
  const out = at("run.gguf");
  const { code, text } = await convert("--from", at("run"), "--to", "gguf", "--dtype", "Q8_0", "--out", out);
  expect(text).toContain(`note: the embedding has 300 rows, the tokenizer ${tokenizer.vocabSize} tokens`);
  expect(text).toContain("rows of no multiple of 32 stay F16: blk.0.ffn_down.weight [32, 48]");
  expect(text).toMatch(/run\.gguf: 13 tensors, 0\.0 MB in [\d.]+ s/);
  expect(code).toBe(0);
  const { metadata, tensorInfos } = await gguf(out, { allowLocalFile: true });
  expect(metadata).toMatchObject({
    "general.architecture": "qwen3",
    "general.name": "run",
    "general.file_type": 7,
    "qwen3.block_count": 1,
    "qwen3.attention.head_count_kv": 1,
    "qwen3.attention.key_length": 16,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.add_bos_token": false,
    "tokenizer.chat_template": tokenizer.chatTemplate,
  } as object);
  const types = Object.fromEntries(tensorInfos.map(({ name, dtype }) => [name, Number(dtype)]));
  expect(types).toMatchObject({ "token_embd.weight": 8, "blk.0.attn_q_norm.weight": 0, "blk.0.ffn_down.weight": 1 });

  // And back: what F16 and Q8_0 keep of the numbers, under their own names, with the tokenizer.
  const back = await convert("--from", out, "--to", "hf", "--out", at("back"));
  expect(back.code).toBe(0);
  expect(openCheckpoint(at("back")).names().sort()).toEqual(weights.map(([name]) => name).sort());
  expect(loadTokenizer(at("back")).encode("one text")).toEqual(tokenizer.encode("one text"));
});

test("a dry run lists every tensor and writes nothing", async () => {
  const { code, text } = await convert("--from", at("run"), "--to", "gguf", "--dry-run", "--out", at("dry.gguf"));
  expect(text).toMatch(/model\.layers\.0\.mlp\.gate_proj\.weight +blk\.0\.ffn_gate\.weight +\[48, 32\] +F32 → F16/);
  expect(text).toMatch(/model\.norm\.weight +output_norm\.weight +\[32\] +F32\n/);
  expect(text).toContain("would hold 13 tensors, 0.0 MB; nothing was written");
  expect(code).toBe(0);
  expect(existsSync(at("dry.gguf"))).toBe(false);
});

test("a dry run says what would not fit", async () => {
  mkdirSync(at("large"));
  const large = new Map(weights).set("model.norm.weight", fromFloat32(new Float32Array(32).fill(1e6), [32]));
  await writeSafetensors(at("large", "model.safetensors"), large);
  writeFileSync(at("large", "config.json"), JSON.stringify(huggingFaceConfig(config)));
  const { code, text } = await convert("--from", at("large"), "--to", "pth", "--dry-run");
  expect(text).toContain("does not fit: ");
  expect(text).toContain("tensor model.norm.weight: 1000000 does not fit F16");
  expect(code).toBe(1);
});

test("what is there is not replaced unasked, and never what no conversion wrote", async () => {
  const args = ["--from", at("run"), "--to", "hf", "--out", at("hf")];
  expect((await convert(...args)).code).toBe(0);
  const written = readdirSync(at("hf")).sort();
  expect(written).toEqual([
    ...["config.json", "generation_config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json"],
    "tokenizer_config.json",
  ]);
  const refused = await convert(...args, "--dtype", "F16");
  expect(refused.text).toContain("hf: exists already; choose another --out, or replace it: --overwrite");
  expect(refused.code).toBe(1);
  expect((await convert(...args, "--dtype", "BF16", "--overwrite")).code).toBe(0);
  expect(openCheckpoint(at("hf")).info("model.norm.weight").dtype).toBe("BF16");
  writeFileSync(at("hf", "diary.txt"), "mine");
  expect((await convert(...args, "--overwrite")).text).toContain("holds what no conversion wrote (diary.txt)");
  const itself = await convert("--from", at("run"), "--to", "hf", "--out", at("run"), "--overwrite");
  expect(itself.text).toContain("holds the input itself; choose another --out");
  expect(readFileSync(at("hf", "diary.txt"), "utf8")).toBe("mine");
});

test("MiniMind's adapter becomes PEFT's and comes back; alpha goes into B", async () => {
  const pair: [string, HostTensor][] = [
    ["model.layers.0.self_attn.q_proj.lora.A.weight", fromFloat32(random(64, 1), [2, 32], "F16")],
    ["model.layers.0.self_attn.q_proj.lora.B.weight", fromFloat32(random(64, 2), [32, 2], "F16")],
  ];
  await writePth(at("adapter.pth"), new Map(pair));
  const { code, text } = await convert("--from", at("adapter.pth"), "--to", "peft", "--out", at("adapter"));
  expect(text).toContain("adapter_model.safetensors, adapter_config.json; 2 tensors");
  expect(code).toBe(0);
  const file = at("adapter", "adapter_config.json");
  const json = JSON.parse(readFileSync(file, "utf8"));
  expect(json).toMatchObject({ peft_type: "LORA", r: 2, lora_alpha: 2, target_modules: ["q_proj"] });
  expect((await convert("--from", at("adapter"), "--to", "pth", "--out", at("again.pth"))).code).toBe(0);
  for (const [name, tensor] of pair) expect(openCheckpoint(at("again.pth")).get(name)).toEqual(tensor);

  writeFileSync(file, JSON.stringify({ ...json, lora_alpha: 4 }));
  expect((await convert("--from", at("adapter"), "--to", "pth", "--out", at("twice.pth"))).code).toBe(0);
  const [a, b] = pair.map(([name]) => [...openCheckpoint(at("twice.pth")).get(name).data]);
  expect(a).toEqual([...pair[0]![1].data]);
  expect(b).toEqual([...pair[1]![1].data].map((value) => 2 * Number(value)));

  const merged = await convert("--from", at("adapter"), "--to", "gguf");
  expect(merged.text).toContain("is a LoRA adapter; merge it into its model first");
  expect(merged.code).toBe(2);
});

test("an adapter under MiniMind's first names is told its heads, or MiniMind's are assumed and said", async () => {
  const layer = "layers.0.attention.wq.lora";
  const pair = { A: fromFloat32(random(64, 3), [2, 32]), B: fromFloat32(random(64, 4), [32, 2]) };
  await writePth(at("first.pth"), new Map(Object.entries(pair).map(([half, t]) => [`${layer}.${half}.weight`, t])));
  const args = ["--from", at("first.pth"), "--to", "peft"];
  const assumed = await convert(...args, "--dry-run");
  expect(assumed.text).toContain(
    "note: num_attention_heads 8 is assumed, as MiniMind has it; --model.num_attention_heads sets it",
  );
  expect(assumed.text).toMatch(
    /wq\.lora\.B\.weight +base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_B\.weight/,
  );
  const told = await convert(...args, "--out", at("first"), "--model.num_attention_heads", "2");
  expect(told.text).not.toContain("assumed");
  expect(told.code).toBe(0);
  const b = openCheckpoint(at("first")).get("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight");
  expect(b).toEqual(neighboursToHalves(pair.B, 2));
  const wrong = await convert(...args, "--out", at("wrong"), "--model.num_attention_heads", "3");
  expect(wrong.text).toContain(`${layer}.B.weight is [32, 2]: its rows are not those of 3 heads`);
  expect(wrong.code).toBe(1);
  expect(existsSync(at("wrong"))).toBe(false);
});

describe("a .pth whose rotary angles were scaled", () => {
  const scaling = (flags: Record<string, string>) =>
    Object.entries(flags).flatMap(([key, value]) => [`--model.rope_scaling.${key}`, value]);
  const from = at("yarn.pth");
  const args = ["--from", from, "--to", "hf", "--tokenizer", "none", "--out"];
  const written = (name: string) => openWeights(at(name)).config.rope_scaling;

  test("says so on the command line; the rest is MiniMind's", async () => {
    await writePth(from, new Map(weights));
    expect((await convert(...args, at("yarn"), ...scaling({ rope_type: "yarn" }))).code).toBe(0);
    expect(written("yarn")).toEqual({
      ...{ type: "yarn", factor: 16, original_max_position_embeddings: 2048 },
      ...{ beta_fast: 32, beta_slow: 1, attention_factor: 1 },
    });
    const flags = scaling({ rope_type: "yarn", factor: "4", beta_fast: "16", attention_factor: "1.2" });
    expect((await convert(...args, at("yarn-4"), ...flags)).code).toBe(0);
    expect(written("yarn-4")).toMatchObject({ factor: 4, beta_fast: 16, beta_slow: 1, attention_factor: 1.2 });
    expect((await convert(...args, at("unscaled"))).code).toBe(0);
    expect(written("unscaled")).toBe(null);
  });

  test("is told how to come back from a .pth, which holds no config", async () => {
    const flags = scaling({ rope_type: "llama3", factor: "4", original_max_position_embeddings: "1024" });
    expect((await convert(...args, at("llama3"), ...flags)).code).toBe(0);
    const { text, code } = await convert("--from", at("llama3"), "--to", "pth", "--out", at("llama3.pth"));
    expect(code).toBe(0);
    const back = /convert it back with (--.*)/.exec(text)![1]!.split(" ");
    const again = ["--from", at("llama3.pth"), "--to", "hf", "--tokenizer", "none", "--out", at("llama3-back")];
    expect((await convert(...again, ...back)).code).toBe(0);
    expect(written("llama3-back")).toEqual(written("llama3"));
    expect(written("llama3")).toMatchObject({ type: "llama3", factor: 4, high_freq_factor: 4 });
  });

  const nonsense: [flags: Record<string, string>, message: string][] = [
    [
      { factor: "4" },
      "--model.rope_scaling.factor: says how much, but not how; give --model.rope_scaling.rope_type yarn or llama3 too",
    ],
    [{ rope_type: "linear" }, '--model.rope_scaling.rope_type is "linear", expected one of yarn, llama3'],
    [{ rope_type: "llama3", beta_fast: "4" }, "--model.rope_scaling.beta_fast: llama3 has no such setting"],
    [{ rope_type: "yarn", low_freq_factor: "1" }, "--model.rope_scaling.low_freq_factor: yarn has no such setting"],
    [{ rope_type: "yarn", factor: "0.5" }, '--model.rope_scaling.factor is "0.5", expected a number, 1 or more'],
    [{ rope_type: "yarn", beta_slow: "0" }, "rope_scaling.beta_slow is 0, expected a number above 0"],
    [{ rope_type: "yarn", beta_fast: "1" }, "rope_scaling.beta_fast 1 is not above beta_slow 1"],
    [
      { rope_type: "yarn", original_max_position_embeddings: "32768" },
      "original_max_position_embeddings: is 32768, expected less than max_position_embeddings, 32768",
    ],
  ];
  for (const [flags, message] of nonsense)
    test(`nonsense is refused: ${scaling(flags).join(" ")}`, async () => {
      const { code, text } = await convert(...args, at("nonsense"), ...scaling(flags));
      expect(text).toContain(message);
      expect(code).toBeGreaterThan(0);
      expect(existsSync(at("nonsense"))).toBe(false);
    });
});

describe("what cannot be converted is refused in words", () => {
  const cases: [title: string, prepare: (folder: string) => Promise<void> | void, args: string[], message: RegExp][] = [
    [
      "a file cut short",
      (to) =>
        writeFileSync(join(to, "model.safetensors"), readFileSync(at("run", "model.safetensors")).subarray(0, 9000)),
      [],
      /model\.safetensors: is cut short: its tensors end at byte \d+, the file at 9000/,
    ],
    [
      "an unknown architecture",
      (to) =>
        writeFileSync(join(to, "config.json"), JSON.stringify({ ...huggingFaceConfig(config), model_type: "mamba" })),
      [],
      /model_type is "mamba", expected one of qwen3/,
    ],
    [
      "tensors that no decoder has",
      (to) => writeSafetensors(join(to, "model.safetensors"), new Map([...weights, ["vision.weight", weights[0]![1]]])),
      [],
      /vision\.weight is not in the model/,
    ],
    [
      "no tokenizer",
      (to) => Bun.file(join(to, "tokenizer.json")).delete(),
      [],
      /holds no tokenizer\.json; name one with --tokenizer folder, or write the weights alone: --tokenizer none/,
    ],
    [
      "a tokenizer of more tokens than the embedding has rows",
      (to) =>
        writeFileSync(
          join(to, "tokenizer.json"),
          JSON.stringify({ ...tokenizer.toJSON(), added_tokens: [{ id: 300, content: "<extra>", special: true }] }),
        ),
      [],
      /its tokenizer has 301 tokens, but the model's embedding 300 rows: it is another model's/,
    ],
    [
      "a dtype that the format lacks",
      () => {},
      ["--dtype", "Q8_0"],
      /--dtype Q8_0: only gguf has it; expected auto, F32/,
    ],
    ["a model as an adapter", () => {}, ["--to", "peft"], /holds a whole model, peft is for LoRA adapters/],
  ];
  for (const [i, [title, prepare, args, message]] of cases.entries())
    test(title, async () => {
      const folder = at(`case-${i}`);
      mkdirSync(folder);
      for (const name of readdirSync(at("run"))) writeFileSync(join(folder, name), readFileSync(at("run", name)));
      await prepare(folder);
      const { code, text } = await convert("--from", folder, "--out", at(`out-${i}`), ...args);
      expect(text).toMatch(message);
      expect(code).toBeGreaterThan(0);
      expect(existsSync(at(`out-${i}`))).toBe(false);
    });
});
