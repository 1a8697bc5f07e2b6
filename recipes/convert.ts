/**
 * Turns a model into another project's format, or another project's into ours, on the CPU, a tensor at a time.
 *   bun recipes/convert.ts --from out/sft --to gguf --dtype Q8_0                          for llama.cpp
 *   bun recipes/convert.ts --from full_sft_768.pth --to hf --tokenizer minimind-tokenizer     MiniMind's, for transformers and for us
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import process from "node:process";
import { FileError, megabytes } from "../framework/checkpoint/file.ts";
import { loadTokenizer, type Tokenizer } from "../framework/index.ts";
import type { ModelConfig, RopeScaling } from "../framework/model/config.ts";
import { isAdapter, planAdapterPth, planPeft } from "../framework/model/exportAdapter.ts";
import { planGguf } from "../framework/model/exportGguf.ts";
import { planHuggingFace, planPth } from "../framework/model/exportHf.ts";
import type { ExportPlan, FloatDType } from "../framework/model/exportPlan.ts";
import { isGguf } from "../framework/model/names.ts";
import { expectFit, type ModelWeights, openWeights } from "../framework/model/weights.ts";
import { ConfigError, configure, key, main, progressBar } from "../framework/run/index.ts";
import { tokenizerFromGguf } from "../framework/text/gguf.ts";

const size = (help: string) => key(null, help, { type: "number", min: 0 });
const whole = (help: string) => key(null, help, { type: "number", min: 1, whole: true });

/** What a scaling has that the other one has not. */
const ofItsOwn = {
  yarn: ["beta_fast", "beta_slow", "attention_factor"],
  llama3: ["low_freq_factor", "high_freq_factor"],
};

const schema = {
  from: key(
    "out/pretrain",
    "run folder, Hugging Face folder, .safetensors, .pth, .gguf; or a LoRA adapter: PEFT's folder, MiniMind's .pth",
  ),
  to: key("hf", "what to write", { choices: ["hf", "peft", "pth", "gguf"] }),
  out: key("", "folder (hf, peft) or file (pth, gguf); empty: in out/, named after the input"),
  dtype: key("auto", "of the weights; auto: F16 for pth and gguf, otherwise what they are in", {
    choices: ["auto", "F32", "F16", "BF16", "Q8_0"],
  }),
  tokenizer: key("", "folder or tokenizer.json; empty: what lies beside the weights; none: write hf without one"),
  "dry-run": key(false, "list the tensors and what would not fit, write nothing"),
  overwrite: key(false, "replace what an earlier conversion wrote"),
  model: {
    num_attention_heads: whole("query heads, where a file without config.json does not tell; null: as MiniMind has it"),
    num_key_value_heads: whole("the same for heads of keys and values"),
    rms_norm_eps: size("the same for the norms' epsilon"),
    rope_theta: size("the same for the base of the rotary angles"),
    max_position_embeddings: size("the same for the longest sequence"),
    num_experts_per_tok: size("the same for experts that a token goes through"),
    rope_scaling: {
      rope_type: key(null, "how the rotary angles were scaled; null: as the config has it, else not at all", {
        type: "text",
        choices: ["yarn", "llama3"],
      }),
      factor: key(null, "times that texts grew longer; null: 16 of yarn, as MiniMind has it, 8 of llama3", {
        type: "number",
        min: 1,
      }),
      original_max_position_embeddings: whole("the longest sequence before that; null: 2048 of yarn, 8192 of llama3"),
      beta_fast: size("yarn: pairs that turn more often in it stay as they are; null: 32"),
      beta_slow: size("yarn: pairs that turn less often are slowed by the whole factor; null: 1"),
      attention_factor: size("yarn: what cos and sin are multiplied by; null: 1"),
      low_freq_factor: size("llama3: pairs that turn less often in it are slowed by the whole factor; null: 1"),
      high_freq_factor: size("llama3: pairs that turn more often stay as they are; null: 4"),
    },
  },
};

/** What a conversion writes into a folder. */
const ours =
  /^(model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|adapter_(model\.safetensors|config\.json)|(generation_)?config\.json|(tokenizer|tokenizer_config|special_tokens_map)\.json)$/;

await main(async () => {
  const config = configure("convert", schema, {
    about: "Turns models and LoRA adapters into Hugging Face's, PEFT's, PyTorch's and llama.cpp's formats.",
    presets: "",
    examples: [
      "bun recipes/convert.ts --from out/sft --to hf --dtype BF16",
      "bun recipes/convert.ts --from out/sft --to gguf --dtype Q8_0 --out model.gguf",
      "bun recipes/convert.ts --from full_sft_768.pth --to hf --tokenizer minimind/model --out out/minimind",
      "bun recipes/convert.ts --from lora_identity_768.pth --to peft --dry-run",
    ],
  });
  const { from, to, overwrite } = config;
  const out = config.out || outName(from, to);
  const plan = isAdapter(from) ? adapterPlan(config) : modelPlan(config);
  for (const note of plan.notes) console.log(`note: ${note}`);
  if (config["dry-run"]) return dryRun(plan, out);
  expectFree(from, out, overwrite);
  const bytes = plan.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const start = performance.now();
  const progress = slowBar("writing", bytes);
  const files = await plan.write(out, progress.add);
  progress.end();
  const seconds = (performance.now() - start) / 1000;
  const names = files.length ? `${files.join(", ")}; ` : "";
  const rate = `${megabytes(bytes)} in ${seconds.toFixed(1)} s (${megabytes(bytes / seconds)}/s)`;
  console.log(`${out}: ${names}${plan.tensors.length} tensors, ${rate}`);
});

type Config = ReturnType<typeof configure<typeof schema>>;

/** `sft` becomes `out/sft-hf` or `out/sft.gguf`, wherever it lies. */
function outName(from: string, to: Config["to"]): string {
  const name = basename(resolve(from)).replace(/\.(safetensors|pth|pt|bin|gguf)$/, "");
  return join("out", to === "hf" || to === "peft" ? `${name}-${to}` : `${name}.${to}`);
}

function modelPlan(config: Config): ExportPlan {
  const { from, to } = config;
  if (to === "peft") throw new ConfigError(`--to peft: ${from} holds a whole model, peft is for LoRA adapters`);
  const given = givenSizes(config);
  const weights = openWeights(from, { config: given, infer: true });
  if (given.rope_scaling) expectScaled(weights.config);
  if (weights.assumed.length)
    console.log(`no config.json: assumed ${weights.assumed.join(", ")} (--model.… sets them)`);
  if (config["dry-run"]) for (const problem of weights.problems) console.log(`does not fit: ${problem}`);
  expectFit(weights);
  console.log(describe(weights));
  const tokenizer = to === "pth" ? undefined : orTold(config, () => tokenizerOf(config, weights));
  if (to === "gguf") return planGguf(weights, config.dtype === "auto" ? "F16" : config.dtype, tokenizer!);
  const dtype = floatDType(config, to === "pth" ? "F16" : weights.info("model.embed_tokens.weight").dtype);
  return to === "pth" ? planPth(weights, dtype) : planHuggingFace(weights, dtype, tokenizer);
}

/** What the command line says of the model. */
function givenSizes({ model: { rope_scaling, ...sizes } }: Config): Partial<ModelConfig> {
  const said = (group: object) => Object.entries(group).filter(([, value]) => value !== null);
  const given: Partial<ModelConfig> = Object.fromEntries(said(sizes));
  const scaling = said(rope_scaling);
  if (scaling.length === 0) return given;
  if (rope_scaling.rope_type === null)
    throw new ConfigError(
      `--model.rope_scaling.${scaling[0]![0]}: says how much, but not how; give --model.rope_scaling.rope_type yarn or llama3 too`,
    );
  const others = ofItsOwn[rope_scaling.rope_type === "yarn" ? "llama3" : "yarn"];
  const other = scaling.find(([name]) => others.includes(name));
  if (other)
    throw new ConfigError(
      `--model.rope_scaling.${other[0]}: ${rope_scaling.rope_type} has no such setting; leave it out`,
    );
  // What is left out is MiniMind's; other projects' attention factor would follow from the factor.
  return { ...given, rope_scaling: { attention_factor: 1, ...Object.fromEntries(scaling) } as RopeScaling };
}

/** @throws ConfigError where scaling would be without effect */
function expectScaled({ rope_scaling, max_position_embeddings: longest }: ModelConfig): void {
  const { original_max_position_embeddings: original } = rope_scaling!;
  if (original < longest) return;
  throw new ConfigError(
    `--model.rope_scaling.original_max_position_embeddings: is ${original}, expected less than max_position_embeddings, ${longest}, up to which angles are scaled`,
  );
}

/** What cannot be had stops a conversion; where tensors are only to be listed, it is told. */
function orTold<T>({ to, "dry-run": dry }: Config, find: () => T): T | undefined {
  try {
    return find();
  } catch (error) {
    if (!(error instanceof FileError && dry && to === "hf")) throw error;
    console.log(`does not fit: ${error.message}`);
    process.exitCode = 1;
    return undefined;
  }
}

function adapterPlan(config: Config): ExportPlan {
  const { from, to } = config;
  if (to === "peft") return planPeft(from, floatDType(config, "F32"), givenSizes(config));
  if (to === "pth") return planAdapterPth(from, floatDType(config, "F16"), givenSizes(config));
  throw new ConfigError(
    `--to ${to}: ${from} is a LoRA adapter; merge it into its model first: bun recipes/lora.ts --resume ${from} --merge out/merged`,
  );
}

function floatDType({ to, dtype }: Pick<Config, "to" | "dtype">, otherwise: string): FloatDType {
  const wanted = dtype === "auto" ? otherwise : dtype;
  if (wanted === "F32" || wanted === "F16" || wanted === "BF16") return wanted;
  if (dtype === "auto") return "F32";
  throw new ConfigError(`--dtype ${dtype}: only gguf has it; expected auto, F32, F16 or BF16 with --to ${to}`);
}

function describe({ config, path, checkpoint }: ModelWeights): string {
  const { model_type: type, num_hidden_layers: layers, hidden_size: hidden, vocab_size: vocab } = config;
  return `${path}: ${type}, ${layers} layers of ${hidden}, vocabulary ${vocab}, ${checkpoint.names().length} tensors`;
}

/** @throws FileError where there is none, or it has more tokens than the model */
function tokenizerOf(
  { from, to, tokenizer: named }: Config,
  { checkpoint, config }: ModelWeights,
): Tokenizer | undefined {
  if (named === "none" && to === "hf") return undefined;
  const folder = statSync(from).isDirectory() ? from : dirname(from);
  if (named === "" && !isGguf(checkpoint) && !existsSync(join(folder, "tokenizer.json"))) {
    const without = to === "hf" ? ", or write the weights alone: --tokenizer none" : "";
    throw new FileError(folder, `holds no tokenizer.json; name one with --tokenizer folder${without}`);
  }
  const inFile = named === "" && isGguf(checkpoint);
  const tokenizer = inFile ? tokenizerFromGguf(checkpoint.values, from) : loadTokenizer(named || folder);
  const [tokens, rows] = [tokenizer.vocabSize, config.vocab_size];
  if (tokens > rows)
    throw new FileError(
      named || folder,
      `its tokenizer has ${tokens} tokens, but the model's embedding ${rows} rows: it is another model's`,
    );
  if (tokens < rows) console.log(`note: the embedding has ${rows} rows, the tokenizer ${tokens} tokens`);
  return tokenizer;
}

/** @throws FileError where something stands there that is not to be replaced */
function expectFree(from: string, out: string, overwrite: boolean): void {
  const inner = relative(resolve(out), resolve(from));
  if (!inner.startsWith("..") && inner !== resolve(from))
    throw new FileError(out, "holds the input itself; choose another --out");
  if (!existsSync(out)) return;
  const files = statSync(out).isDirectory() ? readdirSync(out) : undefined;
  if (files?.length === 0) return;
  if (!overwrite) throw new FileError(out, "exists already; choose another --out, or replace it: --overwrite");
  const strange = files?.filter((name) => !ours.test(name)) ?? [];
  if (strange.length > 0)
    throw new FileError(
      out,
      `holds what no conversion wrote (${strange.slice(0, 3).join(", ")}); choose another --out`,
    );
}

/** A bar for what takes longer than two seconds. */
function slowBar(label: string, total: number): { add(bytes: number): void; end(): void } {
  const bar = progressBar(label, total);
  const start = performance.now();
  let [done, shown] = [0, false];
  return {
    add(bytes) {
      done += bytes;
      shown ||= performance.now() - start > 2000;
      if (shown) bar.update(done);
    },
    end: () => shown && bar.finish(),
  };
}

function dryRun(plan: ExportPlan, out: string): void {
  const wrong: string[] = [];
  const total = plan.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const progress = slowBar("reading", total);
  const rows = plan.tensors.map(({ source, name, shape, from, to, bytes, check }) => {
    try {
      check();
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      wrong.push(error.message);
    }
    progress.add(bytes);
    return [source, name === source ? "" : name, `[${shape.join(", ")}]`, from === to ? from : `${from} → ${to}`];
  });
  progress.end();
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    console.log(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join("  ")
        .trimEnd(),
    );
  console.log(`${out} would hold ${plan.tensors.length} tensors, ${megabytes(total)}; nothing was written`);
  for (const message of wrong) console.log(`does not fit: ${message}`);
  if (wrong.length) process.exitCode = 1;
}
