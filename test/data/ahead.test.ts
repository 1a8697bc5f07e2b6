import { afterAll, expect, test } from "bun:test";
import { cpSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stepBatches } from "../../framework/data/ahead.ts";
import { type Batch, type BatchOptions, openBatches, tokenBytes } from "../../framework/data/batches.ts";
import { DataError } from "../../framework/data/files.ts";
import { tokenizeDataset } from "../../framework/data/tokenize.ts";
import { trainTokenizer } from "../../framework/text/tokenizer.ts";

const home = mkdtempSync(join(tmpdir(), "micromind-ahead-"));
afterAll(() => rmSync(home, { recursive: true }));
const texts = Array.from({ length: 60 }, (_, i) => `文档 ${i}: ${"the quick brown fox ".repeat((i % 7) + 1)}${i * i}.`);
const tokenizer = await trainTokenizer(texts, { vocabSize: 320 });
const path = join(home, "data.jsonl");
writeFileSync(path, texts.map((text) => `${JSON.stringify({ text })}\n`).join(""));
const shards = await tokenizeDataset(path, tokenizer, { cache: join(home, "cache") });
const options: BatchOptions = { batchSize: 3, seqLen: 32, seed: 4, pad: 0, tokenBytes: tokenBytes(tokenizer) };
const copyOf = (batch: Batch) => structuredClone(batch);

for (const worker of [true, false])
  test(`steps from any place on are the batches of that place, ${worker ? "by a thread" : "without one"}`, async () => {
    const batches = openBatches(shards, options);
    const [done, accumulate] = [3, 2];
    const steps = Math.ceil((2 * batches.perEpoch) / accumulate); // over the end of an epoch
    const seen: Batch[] = [];
    for await (const step of stepBatches(shards, options, { done, accumulate, worker })) {
      seen.push(...step.map(copyOf));
      if (seen.length >= steps * accumulate) break;
    }
    expect(seen).toEqual(Array.from({ length: seen.length }, (_, i) => batches.at(done * accumulate + i)));
  });

test("the arrays of a step go back to the thread when the next is asked for", async () => {
  const source = stepBatches(shards, options);
  const [first] = (await source.next()).value as Batch[];
  expect(first.tokens.length).toBe(96);
  await source.next();
  expect(first.tokens.length).toBe(0);
  await source.return(undefined);
});

test("where no thread can be started, this one does the work", async () => {
  const odd = { ...options, note: () => "a function cannot be sent" };
  const source = stepBatches(shards, odd);
  expect((await source.next()).value).toEqual([openBatches(shards, options).at(0)]);
  await source.return(undefined);
});

test("the thread's errors are thrown with their type, text and code", async () => {
  const damaged = join(home, "damaged");
  cpSync(shards.folder, damaged, { recursive: true });
  truncateSync(join(damaged, "tokens-0.bin"), 10);
  const first = (folder: string, more = {}) => stepBatches({ ...shards, folder }, { ...options, ...more }).next();
  const error = await first(damaged).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(DataError);
  expect((error as DataError).message).toBe(
    `${join(damaged, "tokens-0.bin")}: is damaged; delete ${damaged} to make it anew`,
  );
  expect(await first(join(home, "nowhere")).catch((e: unknown) => e)).toMatchObject({ code: "ENOENT" });
  expect(first(shards.folder, { split: "val", heldOut: 0 })).rejects.toThrow("to hold out for validation");
});

for (const leave of ["break", "forget"])
  test(`a program that ${leave === "break" ? "breaks off" : "forgets"} its batches ends`, () => {
    const script = `
      import { stepBatches } from ${JSON.stringify(resolve(import.meta.dirname, "../../framework/data/ahead.ts"))};
      import { openShards } from ${JSON.stringify(resolve(import.meta.dirname, "../../framework/data/shards.ts"))};
      const options = { batchSize: 3, seqLen: 32, pad: 0, tokenBytes: new Uint16Array(320) };
      const source = stepBatches(openShards(${JSON.stringify(shards.folder)}), options);
      const { value } = await source.next();
      if (${leave === "break"}) await source.return();
      console.log(value[0].tokens.length);`;
    const file = join(home, `${leave}.ts`);
    writeFileSync(file, script);
    const { stdout, exitCode } = Bun.spawnSync([process.execPath, file], { timeout: 20_000 });
    expect([stdout.toString(), exitCode]).toEqual(["96\n", 0]);
  });
