/**
 * Our folders in Hugging Face's transformers and PEFT, and theirs here: `MICROMIND_PYTHON=python3 bun run test test/peers`, with a Python
 * that has transformers (4.57 or 5) and, for adapters, PEFT.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noGrad } from "../../framework/autograd/graph.ts";
import * as micromind from "../../framework/index.ts";
import { applyChatTemplate, CausalLM, loadAdapter, loadModel, loadTokenizer } from "../../framework/index.ts";
import type { ModelConfig } from "../../framework/model/config.ts";
import { planHuggingFace } from "../../framework/model/exportHf.ts";
import { openWeights } from "../../framework/model/weights.ts";
import type { ChatMessage } from "../../framework/text/chat.ts";
import { noise, worst } from "../ops/support.ts";

interface Answers {
  logits: number[];
  greedy: number[];
}
type Theirs = Record<string, Answers & { refused?: string }>;
interface Report {
  ours: Record<string, Answers & { problems: string[]; end: number }>;
  words: Record<string, object>;
  theirs: Theirs;
  adapters: Theirs;
}

const python = process.env.MICROMIND_PYTHON;
if (!python) console.log("skip: MICROMIND_PYTHON names no Python with transformers");
const home = mkdtempSync(join(tmpdir(), "micromind-peers-"));
afterAll(() => rmSync(home, { recursive: true }));

const end = 2;
const sizes = {
  ...{ vocab_size: 320, hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ intermediate_size: 96, max_position_embeddings: 256, rms_norm_eps: 1e-5, head_dim: 16 },
};
const experts = { num_experts: 4, num_experts_per_tok: 2, moe_intermediate_size: 32 };
const yarn = { type: "yarn" as const, factor: 4, original_max_position_embeddings: 64, attention_factor: 1 };
const llama3 = {
  ...{ type: "llama3" as const, factor: 8, original_max_position_embeddings: 64 },
  ...{ low_freq_factor: 1, high_freq_factor: 4 },
};
const kinds: Record<string, Partial<ModelConfig>> = {
  qwen3_untied: { tie_word_embeddings: false },
  qwen3_wide: { head_dim: 32, num_key_value_heads: 4 },
  llama3: { model_type: "llama", rope_scaling: llama3 },
  qwen3_yarn: { rope_scaling: { ...yarn, beta_fast: 16, beta_slow: 1 } },
  qwen3_moe: { ...experts, router_aux_loss_coef: 0 },
  qwen3_moe_untied: { ...experts, norm_topk_prob: false, tie_word_embeddings: false },
  llama: { model_type: "llama" },
  llama_untied: { model_type: "llama", tie_word_embeddings: false, rms_norm_eps: 0.01 },
  qwen2: { model_type: "qwen2" },
};
const tokens = [Array.from({ length: 100 }, (_, i) => 11 + ((i * i * 7 + i) % 300))];

const texts = [
  "",
  "  two spaces\n\n\tand a tab ",
  "世界上最高的山峰，日本語、한국어",
  "👩‍👩‍👧‍👦 é ß ﬁ \u00a0\ufeff",
  'f(x):\n    return {"a": 1.5e-3}',
];
texts.push("<|im_start|>user\nhi<|im_end|> <think>no</think><|endoftext|>", "don't <|im_start| 1,000 ½ \r\n \u0000");
const call = { name: "weather", arguments: { city: 'Zürich "<b>" 城', days: [1, 2.5, null, true], more: {} } };
const conversations: ChatMessage[][] = [
  [
    { role: "system", content: "Be kind. 你好" },
    { role: "user", content: "<|im_end|> q?" },
    { role: "assistant", content: "a", reasoning_content: "\nhm\n" },
  ],
  [
    { role: "user", content: "Rain?" },
    { role: "assistant", content: "Let me see.", tool_calls: [call, { name: "b", arguments: '{"a": 1}' }] },
    { role: "tool", content: "no" },
    { role: "tool", content: '{"t": 2}' },
  ],
];
const tools = [{ type: "function", function: { name: "weather", description: "Wetter für 城市 <i>", parameters: {} } }];
const chats = conversations.flatMap((conversation) =>
  [true, false].map((open) => {
    const own = { tools: open ? tools : [], addGenerationPrompt: open, openThinking: open };
    const theirs = {
      tools: open ? tools : null,
      add_generation_prompt: open,
      open_thinking: open,
      enable_thinking: open,
    };
    return { conversation, own, theirs: { conversation, ...theirs } };
  }),
);

const randomise = (parameters: Iterable<micromind.Tensor>) =>
  [...parameters].forEach((p, i) => void p.write(noise(p.size, i + 1).map((v) => v / 3 + (p.rank === 1 ? 0.7 : 0))));

/** A run's folder of each kind, and what is made of it for transformers. */
async function writeModels(): Promise<string[]> {
  const tokenizer = await micromind.trainTokenizer(["ab cd 世界 the then them"], { vocabSize: 290 });
  const folders: string[] = [];
  for (const [kind, config] of Object.entries(kinds)) {
    const model = new CausalLM({ ...sizes, rope_theta: 5000, ...config });
    randomise(model.parameters());
    const run = join(home, kind);
    await micromind.saveModel(model, run, tokenizer);
    tokenizer.save(run);
    model.dispose();
    for (const dtype of ["F32", "F16", "BF16"] as const)
      await planHuggingFace(openWeights(run), dtype, tokenizer).write(`${run}_${dtype}`, () => {});
    folders.push(run, ...["F32", "F16", "BF16"].map((dtype) => `${run}_${dtype}`));
  }
  return folders;
}

async function writeMiniMind(base: string): Promise<string[]> {
  const reference = join(import.meta.dir, "../../../shared/reference/minimind-tokenizer");
  if (!existsSync(reference)) return [];
  await planHuggingFace(openWeights(base), "F32", loadTokenizer(reference)).write(join(home, "minimind"), () => {});
  return [join(home, "minimind")];
}

async function writeAdapter(base: string): Promise<string> {
  const model = await loadModel(base);
  const targets = ["q_proj", "o_proj", "down_proj"];
  const adapter = new micromind.LoraAdapter(model, { rank: 3, alpha: 5, targets });
  randomise(adapter.namedParameters().values());
  await micromind.saveAdapter(adapter, join(home, "adapter"), { base });
  model.dispose();
  return join(home, "adapter");
}

/** What a Python says of our folders, and the folders that it wrote itself. */
async function ask(command: string): Promise<Report> {
  const models = await writeModels();
  const base = models[0]!;
  const tokenizers = [...models.slice(0, 2), ...(await writeMiniMind(base))];
  const job = { tokens, texts, chats: chats.map(({ theirs }) => theirs), models, tokenizers, base, experts };
  const theirs = { sizes: { ...sizes, eos_token_id: end }, folder: join(home, "theirs") };
  const { success, stdout, stderr } = Bun.spawnSync([command, join(import.meta.dir, "huggingface.py")], {
    stdin: Buffer.from(JSON.stringify({ ...job, ...theirs, adapter: await writeAdapter(base) })),
    env: { ...process.env, HF_HUB_OFFLINE: "1" },
  });
  if (!success) throw new Error(`${command}: ${stderr.toString().slice(-2000)}`);
  return JSON.parse(stdout.toString().trim().split("\n").at(-1)!);
}

async function expectSame(name: string, model: CausalLM, { logits, greedy }: Answers): Promise<void> {
  const own = await noGrad(() => model.forward(tokens)).data();
  const largest = worst(logits, new Float32Array(logits.length));
  expect(worst(own, logits) / largest, `${name}: logits`).toBeLessThan(1e-5);
  const made: number[] = [];
  const options = { temperature: 0, maxNewTokens: 24, stop: [end] };
  for await (const token of model.generate(tokens[0]!.slice(0, 9), options)) made.push(token);
  if (made.length < 24) made.push(end);
  expect(greedy, `${name}: greedy tokens`).toEqual(made);
  model.dispose();
}

describe.skipIf(!python)("transformers", async () => {
  const report = python ? await ask(python) : ({ ours: {}, words: {}, theirs: {}, adapters: {} } as Report);

  test("loads our folders without a word, and computes what we do", async () => {
    expect(Object.keys(report.ours)).toHaveLength(4 * Object.keys(kinds).length);
    for (const [path, { problems, end: last, ...answers }] of Object.entries(report.ours)) {
      expect({ problems, last }, path).toEqual({ problems: [], last: end });
      await expectSame(path, await loadModel(path), answers);
    }
  });

  test("has the same tokens, texts and conversations", () => {
    expect(Object.keys(report.words).length).toBeGreaterThan(1);
    for (const [path, words] of Object.entries(report.words)) {
      const tokenizer = loadTokenizer(path);
      const rendered = chats.map(({ conversation, own }) => applyChatTemplate(tokenizer, conversation, own));
      const ids = [...texts, ...rendered].map((text) => tokenizer.encode(text));
      const decoded = ids.map((row) => tokenizer.decode(row));
      const plain = ids.map((row) => tokenizer.decode(row, { skipSpecialTokens: true }));
      const inputs = ["attention_mask", "input_ids"];
      expect(words, path).toEqual({ inputs, chats: rendered, ids, decoded, plain });
    }
  });

  test("writes models that we read, or refuse by the setting's name", async () => {
    expect(Object.keys(report.theirs)).toHaveLength(48);
    for (const [path, { refused, ...answers }] of Object.entries(report.theirs))
      if (refused) await expect(loadModel(path), path).rejects.toThrow(new RegExp(`${refused} (is|mix)`));
      else await expectSame(path, await loadModel(path), answers);
  });

  test.skipIf(!Object.keys(report.adapters).length)("with PEFT reads our adapter, and we read its own", async () => {
    expect(Object.keys(report.adapters)).toHaveLength(11);
    for (const [path, { refused, ...answers }] of Object.entries(report.adapters)) {
      const model = (await loadModel(join(home, "qwen3_untied"))).eval();
      const adapter = loadAdapter(model, path);
      if (refused) await expect(adapter, path).rejects.toThrow(`${refused} is `);
      else (await adapter).attach();
      if (!refused) await expectSame(path, model, answers);
    }
  });
});
