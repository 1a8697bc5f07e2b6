import { afterAll, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { FileError } from "../../framework/checkpoint/file.ts";
import { type FileDType, fileDTypes, type HostTensor, sizeOf, viewAs } from "../../framework/checkpoint/host.ts";
import { openSafetensors, type TensorToWrite, writeSafetensors } from "../../framework/checkpoint/safetensors.ts";
import { safetensors } from "./fixtures.ts";

const folder = mkdtempSync(join(tmpdir(), "micromind-safetensors-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "model.safetensors");

function randomBytes(seed: number, count: number): Uint8Array<ArrayBuffer> {
  const digest = createHash("shake256", { outputLength: Math.max(1, count) })
    .update(String(seed))
    .digest();
  return Uint8Array.from(digest.subarray(0, count));
}

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer =>
  Buffer.from(buffer, byteOffset, byteLength);

const tensor = fc
  .record({
    dtype: fc.constantFrom(...(Object.keys(fileDTypes) as FileDType[])),
    shape: fc.array(fc.nat({ max: 5 }), { maxLength: 4 }),
    seed: fc.nat(),
  })
  .map(({ dtype, shape, seed }): HostTensor => {
    const size = sizeOf(shape) * fileDTypes[dtype].BYTES_PER_ELEMENT;
    return { dtype, shape, data: viewAs(randomBytes(seed, size), dtype) };
  });
const name = fc.oneof(fc.string({ unit: "grapheme" }), fc.constantFrom("0", "1", "__proto__", 'a"b\\', "model.层"));

test("Any tensors come back bit for bit, with their names, shapes, dtypes and the metadata", async () => {
  const named = fc.uniqueArray(fc.tuple(name, tensor), { selector: ([name]) => name, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(named, fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 }), async (list, metadata) => {
      await writeSafetensors(path, new Map(list), metadata);
      const read = openSafetensors(path);
      expect(read.names().sort()).toEqual(list.map(([name]) => name).sort());
      expect(Object.entries(read.metadata).sort()).toEqual(Object.entries(metadata).sort());
      for (const [name, { shape, dtype, data }] of list) {
        const got = read.get(name);
        expect(read.info(name)).toEqual({ shape, dtype });
        expect({ shape: got.shape, dtype: got.dtype }).toEqual({ shape, dtype });
        expect(got.data).toBeInstanceOf(fileDTypes[dtype]);
        expect(bytesOf(got.data).equals(bytesOf(data))).toBe(true);
      }
    }),
    { numRuns: 60 },
  );
});

const two: Record<string, TensorToWrite> = {
  b: { dtype: "U8", shape: [3], data: Uint8Array.of(1, 2, 3) },
  a: { dtype: "F32", shape: [2], data: Float32Array.of(1, 2) },
};

test("The file is laid out as the format says: padded header, wide elements first, format pt", async () => {
  await writeSafetensors(path, two);
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  expect(length % 8).toBe(0);
  expect(JSON.parse(bytes.toString("utf8", 8, 8 + length))).toEqual({
    __metadata__: { format: "pt" },
    a: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
    b: { dtype: "U8", shape: [3], data_offsets: [8, 11] },
  });
  expect([...bytes.subarray(8 + length)]).toEqual([0, 0, 128, 63, 0, 0, 0, 64, 1, 2, 3]);
});

test("A tensor given as a function is asked for when its turn comes, one at a time", async () => {
  const asked: string[] = [];
  const lazy = (name: string): TensorToWrite => ({
    ...{ dtype: "F32", shape: [2] },
    async data() {
      asked.push(name);
      await Promise.resolve();
      return Float32Array.of(asked.length, 0);
    },
  });
  await writeSafetensors(path, { b: lazy("b"), a: lazy("a") });
  expect(asked).toEqual(["a", "b"]);
  expect([...openSafetensors(path).get("b").data]).toEqual([2, 0]);
});

test("Data that does not fit its shape or dtype is refused, and the old file stays", async () => {
  await writeSafetensors(path, two);
  const before = readFileSync(path);
  const wrong: [TensorToWrite, string][] = [
    [
      { dtype: "F32", shape: [3], data: Float32Array.of(1) },
      "tensor x: shape [3] means 3 elements, but its data has 1",
    ],
    [
      { dtype: "F32", shape: [3], data: () => Float32Array.of(1) },
      "tensor x: shape [3] means 3 elements, but its data has 1",
    ],
    [
      { dtype: "F16", shape: [1], data: Float32Array.of(1) },
      "tensor x: F16 data is in a Float32Array, expected a Float16Array",
    ],
    [{ dtype: "F32", shape: [-1], data: Float32Array.of(1) }, "tensor x: shape is [-1], expected whole numbers"],
  ];
  for (const [x, message] of wrong) await expect(writeSafetensors(path, { x })).rejects.toThrow(`${path}: ${message}`);
  await expect(writeSafetensors(path, { __metadata__: two.a! })).rejects.toThrow("cannot be named __metadata__");
  expect(readFileSync(path).equals(before)).toBe(true);
  expect(readdirSync(folder)).toEqual(["model.safetensors"]);
});

function messageOf(bytes: Uint8Array): string {
  const file = join(folder, "bad.safetensors");
  writeFileSync(file, bytes);
  try {
    openSafetensors(file);
  } catch (error) {
    expect(error).toBeInstanceOf(FileError);
    expect((error as Error).message).toStartWith(`${file}: `);
    return (error as Error).message.slice(file.length + 2);
  } finally {
    rmSync(file);
  }
  return "it was opened";
}

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]): object => ({
  ...{ dtype: "F32", shape, data_offsets: [begin, end] },
});
const header = (length: bigint, rest: string): Uint8Array =>
  Buffer.concat([new Uint8Array(new BigUint64Array([length]).buffer), Buffer.from(rest)]);

const damaged: [what: string, bytes: Uint8Array, message: string][] = [
  ["an empty file", new Uint8Array(), "is empty"],
  ["a file of 9 bytes", header(1n, "{"), "is 9 bytes long, too short for safetensors"],
  ["a header longer than the file", header(100n, "{}"), "is cut short: its header needs 108 bytes, the file has 10"],
  [
    "a header of gigabytes",
    header(2n ** 40n, "{}"),
    "its header claims 1099511627776 bytes, safetensors allows 100 MB",
  ],
  ["the largest length", header(2n ** 64n - 1n, "{}"), "safetensors allows 100 MB"],
  ["another kind of file", Buffer.from("some notes on the weather"), "is not a safetensors file"],
  ["a web page", Buffer.from("<!DOCTYPE html><html></html>"), "is a web page, not a checkpoint"],
  ["a Git LFS pointer", Buffer.from("version https://git-lfs.github.com/spec/v1\n"), "is a Git LFS pointer"],
  ["a header that is not JSON", safetensors("{nonsense}"), "its header is not JSON"],
  ["a header that is not UTF-8", header(4n, "{}").fill(0xff, 9), "is cut short"],
  ["bad UTF-8", safetensors("{}").fill(0xff, 9), "its header is not JSON"],
  [
    "a name twice",
    safetensors(`{"a":${JSON.stringify(f32(0, 4))},"a":${JSON.stringify(f32(0, 4))}}`, 4),
    "names a twice",
  ],
  ["a name twice, escaped", safetensors(`{"a":${JSON.stringify(f32(0, 4))},"\\u0061":{}}`, 4), "names a twice"],
  [
    "a shape twice",
    safetensors(`{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}`, 4),
    "names shape twice",
  ],
  ["an entry that is a number", safetensors({ a: 3 }), "tensor a: is 3, expected { dtype, shape, data_offsets }"],
  [
    "an unknown dtype",
    safetensors({ a: { ...f32(0, 4), dtype: "F8_E4M3" } }, 4),
    'tensor a: dtype is "F8_E4M3", expected one of F64',
  ],
  ["a dtype of Object's own", safetensors({ a: { ...f32(0, 4), dtype: "toString" } }, 4), 'dtype is "toString"'],
  ["a negative shape", safetensors({ a: f32(0, 4, [-1]) }, 4), "tensor a: shape is [-1], expected whole numbers"],
  [
    "a shape too large to be a number",
    safetensors({ a: f32(0, 4, [2 ** 60]) }, 4),
    "shape is [1152921504606847000], expected whole",
  ],
  [
    "a shape whose product overflows",
    safetensors({ a: f32(0, 4, [2 ** 40, 2 ** 40]) }, 4),
    "but its data_offsets [0, 4] hold 4",
  ],
  [
    "three offsets",
    safetensors({ a: { ...f32(0, 4), data_offsets: [0, 4, 8] } }, 4),
    "data_offsets is [0,4,8], expected [begin, end]",
  ],
  ["offsets the wrong way round", safetensors({ a: { ...f32(0, 4), data_offsets: [4, 0] } }, 4), "hold -4"],
  [
    "offsets that do not fit",
    safetensors({ a: f32(0, 4, [2]) }, 4),
    "tensor a: F32 [2] needs 8 bytes, but its data_offsets [0, 4] hold 4",
  ],
  ["an overlap", safetensors({ a: f32(0, 8), b: f32(4, 12) }, 12), "tensor b: begins at byte"],
  ["the same bytes twice", safetensors({ a: f32(0, 8), b: f32(0, 8) }, 8), "it overlaps the tensor before it"],
  ["a hole", safetensors({ a: f32(0, 4), b: f32(8, 12) }, 12), "it leaves a hole before it"],
  ["a hole at the start", safetensors({ a: f32(4, 8) }, 8), "it leaves a hole before it"],
  ["missing bytes", safetensors({ a: f32(0, 8) }, 7), "is cut short: its tensors end at byte"],
  ["bytes after the end", safetensors({ a: f32(0, 8) }, 9), "has 1 bytes after its last tensor"],
  ["metadata that is not text", safetensors({ __metadata__: { a: 1 } }), "__metadata__ is not an object of texts"],
];

for (const [what, bytes, message] of damaged) {
  test(`A safetensors file with ${what} is refused`, () => expect(messageOf(bytes)).toContain(message));
}

test("A file cut at any byte is refused", async () => {
  await writeSafetensors(path, two);
  const whole = readFileSync(path);
  for (let length = 0; length < whole.length; length++) {
    expect(messageOf(whole.subarray(0, length))).toMatch(/cut short|is empty/);
  }
});

test("Empty tensors, no tensors and an unaligned file are read", () => {
  writeFileSync(path, safetensors("{}"));
  expect(openSafetensors(path).names()).toEqual([]);
  const entries = {
    z: f32(4, 4, [0, 5]),
    c: { dtype: "U8", shape: [], data_offsets: [8, 9] },
    a: f32(0, 4),
    b: f32(4, 8),
  };
  writeFileSync(path, safetensors(JSON.stringify(entries) + " ", Uint8Array.of(0, 0, 128, 63, 0, 0, 0, 64, 7)));
  const read = openSafetensors(path);
  expect(read.names().map((name) => [...read.get(name).data])).toEqual([[], [7], [1], [2]]);
});

test("A tensor that is not there is told with some that are", async () => {
  await writeSafetensors(path, two);
  expect(() => openSafetensors(path).get("c")).toThrow(`${path}: has no tensor c; it has 2: a, b`);
  expect(() => openSafetensors(path).info("__proto__")).toThrow("has no tensor __proto__");
});

test("A file that changes after it was opened is not read on", async () => {
  await writeSafetensors(path, two);
  const read = openSafetensors(path);
  truncateSync(path, 20);
  expect(() => read.get("a")).toThrow(`${path}: has changed since it was opened; open it again`);
  rmSync(path);
  expect(() => read.get("a")).toThrow(`${path}: cannot be read: no such file or folder`);
});

test("Of a file of more than 4 GiB only what is asked for is read", () => {
  const hole = 5 * 2 ** 30;
  const header = safetensors({
    wide: { dtype: "U8", shape: [hole], data_offsets: [0, hole] },
    last: { dtype: "F32", shape: [2], data_offsets: [hole, hole + 8] },
  });
  const large = join(folder, "large.safetensors");
  const descriptor = openSync(large, "w");
  try {
    // Sparse: the hole takes no room on the disk.
    writeSync(descriptor, header);
    writeSync(descriptor, Float32Array.of(1.5, -2), 0, 8, header.length + hole);
    const checkpoint = openSafetensors(large);
    expect(Array.from(checkpoint.get("last").data as Float32Array)).toEqual([1.5, -2]);
    expect(() => checkpoint.get("wide")).toThrow("wide is U8 [5368709120], 5.4 GB; a tensor of more than 4.3 GB");
  } finally {
    closeSync(descriptor);
    rmSync(large);
  }
});
