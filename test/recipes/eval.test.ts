import { beforeAll, expect, test } from "bun:test";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { home, recipe, small } from "./support.ts";

const LONG = 120_000;
const run = join(home, "trained");
beforeAll(async () => {
  const { code, text } = await recipe("pretrain.ts", small("trained", "--train.steps", "4"));
  if (code !== 0) throw new Error(text);
}, LONG);

test(
  "continues the prompts given, says how fast, and draws the same from the same seed",
  async () => {
    const ask = () => recipe("eval.ts", ["--run", run, "The quick", "fox", "--maxNewTokens", "6", "--seed", "3"]);
    const [a, b] = [await ask(), await ask()];
    expect(a.code).toBe(0);
    expect(a.text).toMatch(/\nThe quick[\s\S]*tokens\/s[\s\S]*\nfox/);
    const said = (text: string) => text.replace(/\[.*\]/g, "");
    expect(said(a.text)).toBe(said(b.text));
  },
  LONG,
);

test(
  "reads prompts line by line until the input ends",
  async () => {
    const { code, text } = await recipe(
      "eval.ts",
      ["--run", run, "--interactive", "--maxNewTokens", "3"],
      {},
      "The quick\nThe lazy\n",
    );
    expect(text).toContain("The lazy");
    expect(text).not.toContain("error");
    expect(code).toBe(0);
  },
  LONG,
);

test(
  "a missing run and a truncated model are named",
  async () => {
    const missing = await recipe("eval.ts", ["--run", join(home, "nowhere")]);
    expect(missing.text).toMatch(/error: .*nowhere/);
    expect(missing.code).not.toBe(0);
    const broken = join(home, "broken");
    cpSync(run, broken, { recursive: true });
    writeFileSync(join(broken, "model.safetensors"), readFileSync(join(run, "model.safetensors")).subarray(0, 5000));
    const cut = await recipe("eval.ts", ["--run", broken]);
    expect(cut.text).toMatch(/error: .*model\.safetensors/);
    expect(cut.code).not.toBe(0);
  },
  LONG,
);

test(
  "a model of another shape than its config is listed name by name",
  async () => {
    const other = join(home, "other");
    cpSync(run, other, { recursive: true });
    const config = JSON.parse(readFileSync(join(run, "config.json"), "utf8"));
    writeFileSync(
      join(other, "config.json"),
      JSON.stringify({ ...config, num_hidden_layers: 3, intermediate_size: 128 }),
    );
    const { code, text } = await recipe("eval.ts", ["--run", other]);
    expect(text).toMatch(
      /the weights do not fit the config:[\s\S]*layers\.0\.mlp\.gate_proj\.weight is \[64, 32\], the config asks for \[128, 32\]/,
    );
    expect(code).not.toBe(0);
  },
  LONG,
);

test.each(["mlp.ts", "char.ts"])(
  "examples/%s runs, and its loss falls",
  async (name) => {
    const { code, text } = await recipe(
      `examples/${name}`,
      name === "char.ts" ? [join(home, "small.jsonl"), "20"] : [],
    );
    const losses = [...text.matchAll(/loss ([\d.]+)/g)].map((m) => Number(m[1]));
    expect(losses.at(-1)).toBeLessThan(losses[0] * 0.9);
    expect(code).toBe(0);
  },
  LONG,
);
