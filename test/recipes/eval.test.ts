import { beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
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

const place = join(home, "asking"); // its own out/
const quick = ["--maxNewTokens", "4", "--temperature", "0"];
const ask = (...flags: string[]) => recipe("eval.ts", [...quick, ...flags], {}, "", place);

/** The run in the place where another recipe would have left its own. */
function runOf(name: string): string {
  const dir = join(place, "out", name);
  if (existsSync(dir)) return dir;
  mkdirSync(dir, { recursive: true });
  for (const file of ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"])
    cpSync(join(run, file), join(dir, file));
  const config = readFileSync(join(run, "config.jsonc"), "utf8");
  writeFileSync(join(dir, "config.jsonc"), config.replace("recipes/pretrain.ts", `recipes/${name}.ts`));
  return dir;
}

test(
  "asks in the mode that is named, by number or name, with the mode's run and questions",
  async () => {
    runOf("sft");
    runOf("dpo");
    runOf("reason");
    const [byNumber, byName] = [await ask("--mode", "1"), await ask("--mode", "sft")];
    const steady = (text: string) => text.replace(/\[.*tokens\/s\]/g, "");
    expect(steady(byNumber.text)).toBe(steady(byName.text));
    expect(byName.text).toContain("out/sft: sft, ");
    expect(byName.text).toContain("\n请介绍一下自己。\n");
    expect(byName.text).toContain("\nIntroduce the history of the United States, please.\n");
    expect(byName.text.match(/; prompt of/g)).toHaveLength(9);
    expect((await ask("--mode", "dpo", "hi")).text).toContain("out/dpo: rlhf, ");
    expect((await ask("--mode", "3")).text).toMatch(/out\/reason: reason, [\s\S]*85\+13[\s\S]*请介绍一下自己/);
    expect(byName.code).toBe(0);
  },
  LONG,
);

test(
  "without a mode the run's recipe decides, and for other folders the tokenizer",
  async () => {
    expect((await ask("--run", runOf("dpo"), "hi")).text).toContain("dpo: rlhf, ");
    expect((await ask("--run", run, "hi")).text).toContain("trained: pretrain, ");
    const bare = runOf("bare");
    writeFileSync(join(bare, "config.jsonc"), "{}");
    expect((await ask("--run", bare, "hi")).text).toContain("bare: sft, ");
    const file = join(bare, "tokenizer_config.json");
    const { chat_template: _, ...rest } = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify(rest));
    expect((await ask("--run", bare, "hi")).text).toContain("bare: pretrain, ");
    const refused = await ask("--run", bare, "--mode", "sft", "hi");
    expect(refused.text).toMatch(/error: .*bare: its tokenizer has no chat template/);
  },
  LONG,
);

test(
  "history reminds the model of the questions before, system and thinking come before its reply",
  async () => {
    const sft = runOf("sft");
    const wide = runOf("wide"); // as if it was trained on longer rows, which turns fit
    const config = readFileSync(join(wide, "config.jsonc"), "utf8").replace("recipes/wide.ts", "recipes/sft.ts");
    writeFileSync(join(wide, "config.jsonc"), config.replace('"seqLen": 32', '"seqLen": 512'));
    const lengths = (text: string) => [...text.matchAll(/prompt of (\d+)/g)].map(([, length]) => Number(length));
    const [plain, reminded] = [
      await ask("--run", sft, "The fox", "The fox", "The fox"),
      await ask("--run", wide, "--history", "1", "The fox", "The fox", "The fox"),
    ];
    const narrow = await ask("--run", sft, "--history", "1", "The fox", "The fox");
    const [one] = lengths(plain.text);
    expect(lengths(plain.text)).toEqual([one, one, one]);
    const [first, second, third] = lengths(reminded.text);
    expect([first, second > 2 * one, third < 3 * one + 12]).toEqual([one, true, true]);
    expect(lengths(narrow.text)).toEqual([one, one]); // a row of 32 has no room for a turn before
    const told = await ask("--run", sft, "--system", "Be brief.", "The fox", "--thinking");
    expect(lengths(told.text)[0]).toBeGreaterThan(one + 5);
    expect(told.text).toContain("\nThe fox\n<think>\n");
    const turns = await ask("--run", run, "--history", "1");
    expect(turns.text).toContain("is asked as pretrain, which continues texts and knows no turns");
    expect(turns.code).toBe(2);
  },
  LONG,
);

test(
  "writes a transcript, whole and never over another file; compares runs in one",
  async () => {
    const [sft, dpo] = [runOf("sft"), runOf("dpo")];
    const one = await ask("--run", sft, "--output", "one.md", "The fox", "a|b <c>");
    expect(one.text).toContain("wrote one.md");
    const text = readFileSync(join(place, "one.md"), "utf8");
    expect(text).toContain(`# ${sft}\n\n- ${sft}: sft, `);
    expect(text).toContain("- greedy, at most 4 tokens\n\n## 1. The fox\n\n> ");
    expect(text).toContain("## 2. a\\|b \\<c>\n\n> ");
    expect(text).toMatch(/\n\n\(4 tokens \(cut off\), \d+ tokens\/s.*; prompt of .*\)\n/);
    const again = await ask("--run", sft, "--output", "one.md", "other");
    expect(again.text).toContain("error: one.md: is there already and is not replaced");
    expect(again.code).toBe(1);
    expect(readFileSync(join(place, "one.md"), "utf8")).toBe(text);

    const both = await ask("--compare", sft, dpo, "The fox", "--output", "both.md");
    expect(both.text).toMatch(/\nThe fox\n\n.*sft: [\s\S]*tokens[\s\S]*\n.*dpo: [\s\S]*tokens/);
    expect((await ask("--compare", sft, `${dpo}+nobody`)).text).toContain('there is no adapter "nobody"');
    const table = readFileSync(join(place, "both.md"), "utf8");
    expect(table).toContain(`## 1. The fox\n\n| model | reply | speed |\n| --- | --- | --- |\n| ${sft} | `);
    expect(table).toContain(`\n| ${dpo} | `);
  },
  LONG,
);

test.skipIf(process.platform === "win32")(
  "in a wide terminal compared replies stand side by side",
  async () => {
    const [sft, dpo] = [runOf("sft"), runOf("dpo")];
    let text = "";
    const decoder = new TextDecoder();
    const script = join(import.meta.dir, "../../recipes/eval.ts");
    const child = Bun.spawn(["bun", script, ...quick, "--compare", sft, dpo, "The fox"], {
      cwd: place,
      env: { ...process.env, NO_COLOR: "1" },
      terminal: {
        cols: 240,
        rows: 24,
        data(_, piece) {
          text += decoder.decode(piece, { stream: true });
        },
      },
    });
    expect(await child.exited).toBe(0);
    expect(text).toMatch(/The fox\r\n[^\n]*\r\n[^\n]*sft +│ [^\n]*dpo\r\n[\s\S]*tokens[^\n]*│[^\n]*tokens/);
  },
  LONG,
);

test(
  "what cannot be asked is said, with the way out",
  async () => {
    const cases: [flags: string[], code: number, message: RegExp][] = [
      [["--mode", "sfd"], 2, /--mode is "sfd", expected one of 0, 1, .*grpo.*did you mean sft\?/],
      [["--mode", "5"], 2, /--mode is "5", expected one of 0, 1, 2, 3, 4, pretrain, sft, rlhf, reason, grpo/],
      [["--mode", "pretrain"], 1, /--run: there is no out\/pretrain; make it with: bun recipes\/pretrain\.ts/],
      [["--mode", "grpo"], 1, /--run: there is no out\/grpo/],
      [["--compare", "out/sft", "question"], 2, /--compare: is out\/sft alone, expected two folders or more/],
      [["--compare", "out/sft", "out/none"], 1, /there is no out\/none/],
      [["--run", "out/sft", "--lora", "nobody"], 1, /lora: there is no adapter "nobody"/],
    ];
    runOf("sft");
    for (const [flags, code, message] of cases) {
      const ran = await ask(...flags);
      expect([flags, ran.text]).toEqual([flags, expect.stringMatching(message)]);
      expect([flags, ran.code]).toEqual([flags, code]);
    }
  },
  LONG,
);

test(
  "--facts counts the corpus' facts that a model knows, and asks a chat model its questions",
  async () => {
    runOf("reason");
    const sums = await ask("--mode", "reason", "--facts");
    expect(sums.text).toMatch(/\d+ of 300 answers right \(\d\.\d%\)\n {2}\[0 replies to the letter, 0\.0%\]/);
    const { code, text } = await recipe("eval.ts", ["--run", run, "--facts"]);
    expect(text).toMatch(/\d of 764 facts right \(0\.\d%\)/);
    expect(code).toBe(0);
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
