import { afterAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { batchesFrom, openBatches, tokenBytes } from "../../framework/data/batches.ts";
import { type Document, documents, TEXT_PIECE } from "../../framework/data/documents.ts";
import { resolveFiles } from "../../framework/data/files.ts";
import { shuffled, splitDocuments } from "../../framework/data/rows.ts";
import { tokenizeDataset } from "../../framework/data/tokenize.ts";
import { trainTokenizer } from "../../framework/text/tokenizer.ts";

const home = mkdtempSync(join(tmpdir(), "micromind-data-"));
afterAll(() => rmSync(home, { recursive: true }));
let next = 0;
const file = (name: string, content: string | Uint8Array) => {
  const folder = join(home, String(next++));
  mkdirSync(folder);
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const read = async (path: string, options = {}) => {
  const all: Document[] = [];
  for await (const document of documents(resolveFiles(path), options)) all.push(document);
  return all;
};
const jsonl = (...texts: string[]) => texts.map((text) => `${JSON.stringify({ text })}\n`).join("");

describe("files", () => {
  test("are found by path, folder and glob, sorted", () => {
    const folder = join(home, "many");
    mkdirSync(join(folder, "deep"), { recursive: true });
    for (const name of ["b.jsonl", "a.txt", "deep/c.jsonl.gz", "notes.md"]) writeFileSync(join(folder, name), "x");
    expect(resolveFiles(folder).map((f) => f.slice(folder.length + 1))).toEqual([
      "a.txt",
      "b.jsonl",
      "deep/c.jsonl.gz",
    ]);
    expect(resolveFiles(join(folder, "*.jsonl"))).toEqual([join(folder, "b.jsonl")]);
  });
  test("that are missing, empty or of another kind are named", () => {
    expect(() => resolveFiles("")).toThrow("data: no path is given");
    expect(() => resolveFiles(join(home, "nothing.jsonl"))).toThrow("nothing.jsonl: there is no such file or folder");
    expect(() => resolveFiles(file("x.jsonl", ""))).toThrow("x.jsonl: the file is empty");
    expect(() => resolveFiles(file("x.csv", "a"))).toThrow("x.csv is neither .jsonl nor .txt");
    expect(() => resolveFiles(join(home, "*.parquet"))).toThrow("there is no such file or folder");
  });
});

describe("documents", () => {
  test("of JSONL are its texts, over CRLF, BOM, blank lines and a last line without an end", async () => {
    const path = file("x.jsonl", `\uFEFF{"text":"一"}\r\n\r\n  {"text":"two"}\n{"text":"three 🚀"}`);
    expect((await read(path)).map(({ text, line }) => [line, text])).toEqual([
      [1, "一"],
      [3, "two"],
      [4, "three 🚀"],
    ]);
  });
  test("come out of .gz", async () => {
    expect((await read(file("x.jsonl.gz", gzipSync(jsonl("a", "b"))))).map((d) => d.text)).toEqual(["a", "b"]);
  });
  test("of plain text are pieces cut at line ends, nothing lost", async () => {
    const text = Array.from({ length: 3000 }, (_, i) => `line ${i} of a longer text\n`).join("");
    const pieces = await read(file("x.txt", text));
    expect(pieces.length).toBeGreaterThan(3);
    expect(pieces.map((p) => p.text).join("")).toBe(text);
    expect(
      pieces.every((p, i) => i === pieces.length - 1 || (p.text.length >= TEXT_PIECE && p.text.endsWith("\n"))),
    ).toBe(true);
  });
  test("survive lines longer than a read", async () => {
    const long = "长".repeat(1_000_000);
    expect((await read(file("x.jsonl", jsonl("a", long, "b")))).map((d) => d.text.length)).toEqual([1, 1_000_000, 1]);
  });
  test.each<[string, string | Uint8Array, string]>([
    [
      "not JSON",
      `${jsonl("a")}{"text": oops}\n`,
      'x.jsonl:2: not JSON (JSON Parse error: Unexpected identifier "oops"): {"text": oops}',
    ],
    ["no object", `["a"]\n`, 'x.jsonl:1: expected an object {"text": "..."}, found ["a"]'],
    ["no text", `{"content":"a"}\n`, 'x.jsonl:1: found no "text" among its keys (content), expected {"text": "..."}'],
    ["an empty text", `{"text":""}\n`, 'x.jsonl:1: found an empty "text"'],
    ["text of another type", `{"text":5}\n`, 'x.jsonl:1: found "text" as number'],
    ["another stage's data", `{"conversations":[]}\n`, "x.jsonl:1: holds conversations, for recipes/sft.ts"],
    ["preferences", `{"chosen":[],"rejected":[]}\n`, "x.jsonl:1: holds preferences, for recipes/dpo.ts"],
    [
      "bytes that are not UTF-8",
      Uint8Array.of(...Buffer.from('{"text":"'), 0xff, 0xfe, ...Buffer.from('"}\n')),
      "x.jsonl:1: not valid UTF-8",
    ],
    ["blank lines only", "\n\n  \n", "holds no documents"],
  ])("with %s are an error with file, line and reason", async (_, content, message) => {
    const path = file("x.jsonl", content);
    expect(read(path)).rejects.toThrow(message);
  });
  test("of a truncated .gz are an error", async () => {
    const whole = gzipSync(jsonl(...Array.from({ length: 2000 }, (_, i) => `text ${i * 7919}`)));
    expect(read(file("x.jsonl.gz", whole.subarray(0, whole.length >> 1)))).rejects.toThrow(
      "the .gz is truncated or damaged",
    );
  });
  test("that are bad can be skipped, and are counted", async () => {
    const errors: string[] = [];
    const path = file("x.jsonl", `${jsonl("a")}broken\n${jsonl("b")}`);
    const all = await read(path, { onError: "skip", onSkip: (e: Error) => errors.push(e.message) });
    expect(all.map((d) => d.text)).toEqual(["a", "b"]);
    expect(errors.length).toBe(1);
  });
});

const texts = Array.from({ length: 60 }, (_, i) => `文档 ${i}: ${"the quick brown fox ".repeat((i % 7) + 1)}${i * i}.`);
const tokenizer = await trainTokenizer(texts, { vocabSize: 320 });
const cache = join(home, "cache");
const dataset = (path: string, options = {}) => tokenizeDataset(path, tokenizer, { cache, ...options });

describe("shards", () => {
  const path = file("corpus.jsonl", jsonl(...texts));
  test("hold each document between bos and eos", async () => {
    const shards = await dataset(path);
    expect(shards.info.documents).toBe(60);
    const ids = new Int32Array(shards.lengths[5]);
    shards.read(5, 0, ids);
    expect([...ids]).toEqual([
      tokenizer.bosTokenId as number,
      ...tokenizer.encode(texts[5]),
      tokenizer.eosTokenId as number,
    ]);
    shards.close();
  });
  test("are the same whatever the number of workers", async () => {
    const dump = async (workers: number) => {
      const shards = await tokenizeDataset(path, tokenizer, { cache: join(home, `cache-${workers}`), workers });
      const all = Array.from(shards.lengths, (length, i) => {
        const ids = new Int32Array(length);
        shards.read(i, 0, ids);
        return ids.join();
      });
      shards.close();
      return `${all.join("|")}#${shards.hashes.join()}`;
    };
    const [none, one, three] = [await dump(0), await dump(1), await dump(3)];
    expect(one).toBe(none);
    expect(three).toBe(none);
  });
  test("are made once, and anew for other content or another tokenizer", async () => {
    const own = join(home, "cache-own");
    const count = () => readdirSync(own).filter((n) => n.startsWith("tokens-")).length;
    const same = file("same.jsonl", jsonl("one text", "another"));
    (await dataset(same, { cache: own })).close();
    let reads = 0;
    (await dataset(same, { cache: own, onProgress: () => reads++ })).close();
    expect([count(), reads]).toEqual([1, 0]);
    writeFileSync(same, jsonl("one text", "changed"));
    (await dataset(same, { cache: own })).close();
    (await tokenizeDataset(same, await trainTokenizer(["abc abc"], { vocabSize: 300 }), { cache: own })).close();
    expect(count()).toBe(3);
  });
  test("of a run that failed do not count", async () => {
    const bad = file("bad.jsonl", `${jsonl("fine")}broken\n`);
    expect(dataset(bad)).rejects.toThrow("bad.jsonl:2");
    const shards = await dataset(bad, { onError: "skip" });
    expect([shards.info.documents, shards.info.skipped]).toEqual([1, 1]);
    shards.close();
  });
  test("in a folder that cannot be made are an error that says what to set", async () => {
    const cache = join(file("taken", ""), "cache");
    await expect(dataset(file("e.jsonl", jsonl("text")), { cache })).rejects.toThrow(
      /hashes: cannot be made, where tokens are kept \(.*\); name another folder: MICROMIND_CACHE/,
    );
  });
  test("that are damaged are noticed", async () => {
    const shards = await dataset(file("d.jsonl", jsonl("some text", "more text")));
    shards.close();
    writeFileSync(join(shards.folder, "tokens-0.bin"), "x");
    await expect(dataset(shards.info.files[0])).rejects.toThrow(/tokens-0\.bin: is damaged; delete .* to make it anew/);
    writeFileSync(join(shards.folder, "info.json"), "{");
    await expect(dataset(shards.info.files[0])).rejects.toThrow(/info\.json: is damaged; delete .* to make it anew/);
  });
});

describe("splits", () => {
  test("keep copies of a document on one side, and hold out about the share asked for", () => {
    const hashes = Uint32Array.from({ length: 4000 }, (_, i) => Math.imul(i % 2000, 2654435761));
    const { train, val } = splitDocuments(hashes, 0.1);
    expect(train.length + val.length).toBe(4000);
    expect(val.length).toBeGreaterThan(300);
    expect(val.length).toBeLessThan(500);
    const held = new Set(Array.from(val, (i) => hashes[i]));
    expect(train.some((i) => held.has(hashes[i]))).toBe(false);
  });
  test("of two documents hold out one, of one none", () => {
    expect(splitDocuments(Uint32Array.of(5, 9), 0.01).val.length).toBe(1);
    expect(splitDocuments(Uint32Array.of(5), 0.5)).toEqual({ train: Uint32Array.of(0), val: new Uint32Array(0) });
    expect(splitDocuments(Uint32Array.of(5, 6), 0).val.length).toBe(0);
  });
  test("shuffle by seed and epoch", () => {
    const items = Uint32Array.from({ length: 100 }, (_, i) => i);
    expect(shuffled(items, 1, 0)).toEqual(shuffled(items, 1, 0));
    expect(shuffled(items, 1, 0)).not.toEqual(shuffled(items, 1, 1));
    expect(shuffled(items, 1, 0)).not.toEqual(shuffled(items, 2, 0));
    expect([...shuffled(items, 3, 7)].sort((a, b) => a - b)).toEqual([...items]);
  });
});

describe("batches", async () => {
  const shards = await dataset(file("batches.jsonl", jsonl(...texts)));
  const common = { batchSize: 3, seqLen: 32, pad: tokenizer.padTokenId as number, tokenBytes: tokenBytes(tokenizer) };
  const document = (i: number) => {
    const ids = new Int32Array(shards.lengths[i]);
    shards.read(i, 0, ids);
    return [...ids];
  };

  test("packed hold every token of an epoch once, with the next token of the same document as label", () => {
    const batches = openBatches(shards, { ...common, batchSize: 1, heldOut: 0 });
    const seen: number[] = [];
    for (let n = 0; n < batches.perEpoch; n++) {
      const { tokens, labels, segments, positions } = batches.at(n);
      for (let i = 0; i < 32; i++) {
        seen.push(tokens[i]);
        const sameNext = i < 31 && segments[i + 1] === segments[i];
        if (sameNext && tokens[i] !== tokenizer.padTokenId) expect(labels[i]).toBe(tokens[i + 1]);
        expect(positions[i]).toBe(i > 0 && segments[i - 1] === segments[i] ? positions[i - 1] + 1 : 0);
        if (tokens[i] === tokenizer.eosTokenId) expect(labels[i]).toBe(-100);
      }
    }
    const all = Array.from(shards.lengths.keys()).flatMap(document);
    const counts = (ids: number[]) =>
      Object.fromEntries([...new Set(ids)].sort().map((id) => [id, ids.filter((x) => x === id).length]));
    expect(counts(seen.filter((id) => id !== tokenizer.padTokenId))).toEqual(counts(all));
  });
  test("padded hold a document a row, cut off or filled up", () => {
    const batches = openBatches(shards, { ...common, packing: false, heldOut: 0, split: "train" });
    expect(batches.perEpoch).toBe(20);
    const { tokens, labels } = batches.at(0);
    const row = [...tokens.slice(0, 32)];
    const source = Array.from(shards.lengths.keys())
      .map(document)
      .find((d) => d.slice(0, 10).join() === row.slice(0, 10).join()) as number[];
    const expected = source.slice(0, 32);
    expect(row.slice(0, expected.length)).toEqual(expected);
    expect(row.slice(expected.length).every((id) => id === tokenizer.padTokenId)).toBe(true);
    expect([...labels.slice(0, 32)].filter((l) => l !== -100)).toEqual(source.slice(1, 33).slice(0, expected.length));
  });
  test("can be had from any place, as if all before had been read", async () => {
    const batches = openBatches(shards, { ...common, seed: 4 });
    const far = 2 * batches.perEpoch + 1;
    const fresh = openBatches(shards, { ...common, seed: 4 });
    const stream = batchesFrom(fresh, 0);
    let last = batches.at(0);
    for (let n = 0; n <= far; n++) last = (await stream.next()).value as typeof last;
    expect(batches.at(far)).toEqual(last);
    expect(batches.at(0).tokens).not.toEqual(batches.at(batches.perEpoch).tokens);
  });
  test("of training and validation share no document", () => {
    const [train, val] = (["train", "val"] as const).map((split) =>
      openBatches(shards, { ...common, split, heldOut: 0.2, batchSize: 1, packing: false }),
    );
    expect(train.documents + val.documents).toBe(60);
    const starts = (b: typeof train) =>
      new Set(Array.from({ length: b.perEpoch }, (_, n) => b.at(n).tokens.slice(0, 24).join()));
    const held = starts(val);
    expect([...starts(train)].some((s) => held.has(s))).toBe(false);
  });
  test("know how many bytes of text their labels stand for", () => {
    const batches = openBatches(shards, { ...common, batchSize: 60, packing: false, seqLen: 400, heldOut: 0 });
    const { bytes, labelled } = batches.at(0);
    expect(bytes).toBe(texts.reduce((sum, t) => sum + Buffer.byteLength(t), 0));
    expect(labelled).toBe(shards.tokens - 60);
  });
  test("of nothing to hold out are refused", async () => {
    const one = await dataset(file("one.jsonl", jsonl("just one")));
    expect(() => openBatches(one, { ...common, split: "val" })).toThrow(
      "holds no different documents to hold out for validation",
    );
    one.close();
  });
});
