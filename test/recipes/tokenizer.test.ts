import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadTokenizer } from "../../framework/text/tokenizer.ts";

const home = mkdtempSync(join(tmpdir(), "micromind-tokenizer-"));
afterAll(() => rmSync(home, { recursive: true }));

async function recipe(...args: string[]): Promise<{ code: number; text: string }> {
  const child = Bun.spawn(["bun", join(import.meta.dir, "../../recipes/tokenizer.ts"), ...args], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, error] = await Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  return { code: await child.exited, text: out + error };
}

test("the recipe trains a tokenizer that loads, and says how well it packs", async () => {
  const out = join(home, "out");
  const { code, text } = await recipe("--vocabSize", "700", "--out", out);
  expect(text).toMatch(/700 tokens from 4\d{3} texts[\s\S]*bytes a token/);
  expect(code).toBe(0);
  const tokenizer = loadTokenizer(out);
  expect(tokenizer.vocabSize).toBe(700);
  expect(tokenizer.decode(tokenizer.encode("世界上最高的山峰是 Mount Everest 🚀"))).toBe(
    "世界上最高的山峰是 Mount Everest 🚀",
  );
});

test("a bad line is named, or left out and counted", async () => {
  const path = join(home, "x.jsonl");
  writeFileSync(path, '{"text":"some text, some text, some text"}\nbroken\n');
  const strict = await recipe("--data.path", path, "--out", join(home, "bad"));
  expect(strict.text).toContain("x.jsonl:2: not JSON");
  expect(strict.code).toBe(1);
  const lenient = await recipe(
    "--data.path",
    path,
    "--data.onError",
    "skip",
    "--vocabSize",
    "300",
    "--out",
    join(home, "good"),
  );
  expect(lenient.text).toContain("1 bad lines left out");
  expect(lenient.code).toBe(0);
});
