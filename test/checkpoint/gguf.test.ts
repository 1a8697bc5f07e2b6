import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import fc from "fast-check";
import { FileError } from "../../framework/checkpoint/file.ts";
import { openGguf } from "../../framework/checkpoint/gguf.ts";
import { decodeGgml, encodeGgml } from "../../framework/checkpoint/ggufTypes.ts";
import { type GgufTensor, type GgufValue, writeGguf } from "../../framework/checkpoint/ggufWrite.ts";
import { openCheckpoint } from "../../framework/checkpoint/load.ts";

const folder = mkdtempSync(join(tmpdir(), "micromind-gguf-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "model.gguf");

const metadata = new Map<string, GgufValue>([
  ["general.architecture", ["string", "qwen3"]],
  ["qwen3.block_count", ["u32", 2]],
  ["qwen3.rope.freq_base", ["f32", 0.5]],
  ["tokenizer.ggml.add_bos_token", ["bool", true]],
  ["tokenizer.ggml.tokens", ["strings", ["<|endoftext|>", "Ġ山", ""]]],
  ["tokenizer.ggml.token_type", ["i32s", [3, 1, -1]]],
]);
const counting = (length: number) => Float32Array.from({ length }, (_, i) => i - 3);
const tensors = new Map<string, GgufTensor>([
  ["token_embd.weight", { shape: [3, 5], type: "F16", data: () => counting(15) }],
  ["output_norm.weight", { shape: [5], type: "F32", data: () => counting(5) }],
  ["blk.0.ffn_up_exps.weight", { shape: [2, 3, 32], type: "Q8_0", data: () => counting(192) }],
  ["blk.0.attn_q.weight", { shape: [2, 2], type: "BF16", data: () => counting(4) }],
]);
const write = () => writeGguf(path, metadata, tensors);

test("What is written is read back, metadata and tensors", async () => {
  await write();
  const read = openGguf(path);
  expect(Object.fromEntries(read.values)).toEqual(
    Object.fromEntries([...metadata].map(([key, [, value]]) => [key, value as never])),
  );
  expect(read.names()).toEqual([...tensors.keys()]);
  expect(read.info("token_embd.weight")).toEqual({ shape: [3, 5], dtype: "F32" });
  expect([...read.get("token_embd.weight").data]).toEqual([...counting(15)]);
  expect([...read.get("output_norm.weight").data]).toEqual([...counting(5)]);
  expect([...read.get("blk.0.attn_q.weight").data]).toEqual([...counting(4)]);
  const whole = read.get("blk.0.ffn_up_exps.weight").data as Float32Array;
  expect(Math.max(...whole.map((value, i) => Math.abs(value - (i - 3))))).toBeLessThan(190 / 127);
  expect(read.part("blk.0.ffn_up_exps.weight", 1)).toEqual({ shape: [3, 32], dtype: "F32", data: whole.slice(96) });
  expect(() => read.part("blk.0.ffn_up_exps.weight", 2)).toThrow("has 2 parts, not a part 2");
  expect(openCheckpoint(path).names()).toEqual(read.names());
});

test("@huggingface/gguf reads the same, and finds the numbers where they are", async () => {
  await write();
  const parsed = await gguf(path, { allowLocalFile: true });
  expect(parsed.metadata).toMatchObject({
    version: 3,
    "general.architecture": "qwen3",
    "qwen3.block_count": 2,
    "tokenizer.ggml.tokens": ["<|endoftext|>", "Ġ山", ""],
    "tokenizer.ggml.token_type": [3, 1, -1],
  } as object);
  expect(parsed.tensorInfos.map(({ name, shape, dtype }) => [name, shape.map(Number), Number(dtype)])).toEqual([
    ["token_embd.weight", [5, 3], 1],
    ["output_norm.weight", [5], 0],
    ["blk.0.ffn_up_exps.weight", [32, 3, 2], 8],
    ["blk.0.attn_q.weight", [2, 2], 30],
  ]);
  const at = Number(parsed.tensorDataOffset) + Number(parsed.tensorInfos[1]!.offset);
  expect(at % 32).toBe(0);
  const bytes = readFileSync(path).subarray(at, at + 20);
  expect([...new Float32Array(Uint8Array.from(bytes).buffer)]).toEqual([...counting(5)]);
});

test("A vocabulary of any size fits", async () => {
  const many = Array.from({ length: 20_000 }, (_, i) => `token ${i}`);
  await writeGguf(path, new Map([["tokenizer.ggml.tokens", ["strings", many]]]), tensors);
  const read = openGguf(path);
  expect(read.values.get("tokenizer.ggml.tokens")).toEqual(many);
  expect([...read.get("output_norm.weight").data]).toEqual([...counting(5)]);
});

test("Q8_0 is within half a step of each block's scale, whatever the numbers", () => {
  const block = fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), { minLength: 32, maxLength: 32 });
  fc.assert(
    fc.property(block, (numbers) => {
      const values = Float32Array.from(numbers);
      const bytes = encodeGgml(values, "Q8_0") as Uint8Array<ArrayBuffer>;
      const back = decodeGgml(bytes, "Q8_0");
      const largest = Math.max(...values.map(Math.abs));
      // Half a step, and what rounding the scale to f16 adds over 127 steps.
      const bound = largest / 254 + largest / 2048 + 1e-5;
      for (const [i, value] of back.entries()) expect(Math.abs(value - values[i]!)).toBeLessThanOrEqual(bound);
    }),
  );
});

test("Q8_0's bytes are ggml's: the scale in f16, then 32 signed bytes, halves away from zero", () => {
  const values = Float32Array.from({ length: 32 }, (_, i) => (i === 0 ? -127 : i === 1 ? 2.5 : i === 2 ? -2.5 : i));
  const bytes = encodeGgml(values, "Q8_0") as Uint8Array;
  expect([...bytes.subarray(0, 6)]).toEqual([0x00, 0x3c, 0x81, 3, 0xfd, 3]);
  expect(bytes).toHaveLength(34);
});

test("What does not fit a block is refused before anything is written", async () => {
  const odd = new Map<string, GgufTensor>([["w", { shape: [2, 40], type: "Q8_0", data: () => counting(80) }]]);
  const place = join(folder, "odd.gguf");
  await expect(writeGguf(place, metadata, odd)).rejects.toThrow("rows of 40 do not divide into Q8_0's blocks of 32");
  expect(() => openGguf(place)).toThrow("no such file");
});

test("A damaged file is refused in words, wherever it was cut", async () => {
  await write();
  const whole = readFileSync(path);
  const messageOf = (bytes: Uint8Array): string => {
    writeFileSync(join(folder, "cut.gguf"), bytes);
    try {
      const read = openGguf(join(folder, "cut.gguf"));
      for (const name of read.names()) read.get(name);
      return "it was read";
    } catch (error) {
      expect(error).toBeInstanceOf(FileError);
      return (error as Error).message;
    }
  };
  for (let length = 1; length < whole.length - 32; length += 37)
    expect(messageOf(whole.subarray(0, length))).toMatch(/cut short/);
  const changed = (at: number, byte: number) => Uint8Array.from(whole, (old, i) => (i === at ? byte : old));
  expect(messageOf(changed(0, 0x48))).toContain("is not a GGUF file");
  expect(messageOf(changed(4, 1))).toContain("version 1, expected 2 or 3");
  const typeAt = whole.indexOf("token_embd.weight") + 17 + 4 + 16;
  expect(messageOf(changed(typeAt, 12))).toContain("tensor token_embd.weight: is quantized as ggml's type 12");
});
