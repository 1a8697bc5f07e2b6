import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { zipSync } from "fflate";
import { FileError } from "../../framework/checkpoint/file.ts";
import { sizeOf, toFloat32 } from "../../framework/checkpoint/host.ts";
import { openPth, readPth } from "../../framework/checkpoint/pth.ts";
import * as py from "./fixtures.ts";

const folder = mkdtempSync(join(tmpdir(), "micromind-pth-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "model.pth");

function open(bytes: Uint8Array) {
  writeFileSync(path, bytes);
  return openPth(path);
}

function messageOf(bytes: Uint8Array): string {
  try {
    const read = open(bytes);
    for (const name of read.names()) read.get(name);
  } catch (error) {
    expect(error).toBeInstanceOf(FileError);
    expect((error as Error).message).toStartWith(`${path}: `);
    return (error as Error).message.slice(path.length + 2);
  }
  return "it was read";
}

const counting = Float32Array.from({ length: 24 }, (_, i) => i);
const floats = py.storage("FloatStorage", "0", 24);

test("Every storage's dtype is read", () => {
  const rows: [string, ArrayBufferView, unknown[]][] = [
    ["DoubleStorage", Float64Array.of(0.1, -2), [0.1, -2]],
    ["FloatStorage", Float32Array.of(0.5, -2), [0.5, -2]],
    ["HalfStorage", Float16Array.of(0.5, -2), [0.5, -2]],
    ["BFloat16Storage", Uint16Array.of(0x3f00, 0xc000), [0x3f00, 0xc000]],
    ["LongStorage", BigInt64Array.of(2n ** 40n, -2n), [2n ** 40n, -2n]],
    ["IntStorage", Int32Array.of(5, -2), [5, -2]],
    ["ShortStorage", Int16Array.of(5, -2), [5, -2]],
    ["CharStorage", Int8Array.of(5, -2), [5, -2]],
    ["ByteStorage", Uint8Array.of(5, 254), [5, 254]],
    ["BoolStorage", Uint8Array.of(1, 0), [1, 0]],
  ];
  const entries = rows.map(([kind], i) => [kind, py.tensor(py.storage(kind, String(i), 2), [2], [1])] as const);
  const storages = Object.fromEntries(rows.map(([, data], i) => [String(i), data]));
  for (const level of [0, 6] as const) {
    const read = open(py.archive(py.ordered(Object.fromEntries(entries)), storages, { level }));
    for (const [kind, , values] of rows) expect([...read.get(kind).data]).toEqual(values as number[]);
  }
});

/** PyTorch's meaning of a window, element by element. */
function windowOf(shape: number[], strides: number[], offset: number): number[] {
  return Array.from({ length: sizeOf(shape) }, (_, i) => {
    let [rest, at] = [i, offset];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    return counting[at]!;
  });
}

test("Views, transposes, steps and repeats come out row by row", () => {
  const window = fc
    .tuple(fc.array(fc.tuple(fc.nat({ max: 4 }), fc.nat({ max: 9 })), { maxLength: 4 }), fc.nat({ max: 23 }))
    .filter(([axes, offset]) => offset + axes.reduce((at, [length, stride]) => at + (length - 1) * stride, 0) < 24);
  fc.assert(
    fc.property(window, ([axes, offset]) => {
      const [shape, strides] = [axes.map(([length]) => length), axes.map(([, stride]) => stride)];
      const read = open(py.archive(py.dict({ a: py.tensor(floats, shape, strides, offset) }), { 0: counting }));
      expect(read.get("a").shape).toEqual(shape);
      expect([...read.get("a").data]).toEqual(windowOf(shape, strides, offset));
    }),
    { numRuns: 100 },
  );
});

test("Tied names are recognised and share one tensor", () => {
  const square = py.tensor(floats, [4, 6], [6, 1]);
  const bytes = py.archive(
    py.dict({
      embed: square,
      row: py.tensor(floats, [6], [1]),
      head: py.call(py.global("torch._utils", "_rebuild_parameter"), square, py.int(1), py.dict({})),
      transposed: py.tensor(floats, [6, 4], [1, 6]),
    }),
    { 0: counting },
  );
  expect(open(bytes).tied).toEqual([["embed", "head"]]);
  const tensors = readPth(path);
  expect(tensors.get("head")).toBe(tensors.get("embed")!);
  expect([...tensors.keys()]).toEqual(["embed", "row", "head", "transposed"]);
});

const some = py.ordered({ w: py.tensor(floats, [2], [1]) });

test("A state_dict inside of a training script's dict is found", () => {
  const names = (value: py.Pickled) => open(py.archive(value, { 0: counting })).names();
  const alone = py.tensor(floats, [1], [1]);
  expect(names(py.dict({ model: some, epoch: py.int(3), rng: alone }))).toEqual(["w"]);
  expect(names(py.dict({ weights: some, epoch: py.int(3) }))).toEqual(["w"]);
  expect(names(py.dict({ state_dict: some, ema: py.dict({ v: alone }) }))).toEqual(["w"]);
  expect(names(py.dict({ a: alone, version: py.int(1) }))).toEqual(["a"]);
});

const holds: [py.Pickled, string][] = [
  [py.dict({ ema: some, online: some }), "holds tensors under several keys (ema, online)"],
  [py.dict({ epoch: py.int(3) }), "holds a dict with the keys epoch, expected a state_dict: names and tensors"],
  [py.dict({}), "holds a dict with no keys"],
  [py.tensor(floats, [1], [1]), "holds a single tensor"],
  [py.list(py.tensor(floats, [1], [1])), "holds a list"],
  [py.int(3), "holds number"],
];
for (const [value, message] of holds) {
  test(`A file that ${message} is refused`, () =>
    expect(messageOf(py.archive(value, { 0: counting }))).toContain(message));
}

const hostile: [string, py.Pickled][] = [
  ["os.system", py.call(py.global("os", "system"), py.str(`touch ${join(folder, "pwned")}`))],
  ["posix.system", py.call(py.global("posix", "system"), py.str(`touch ${join(folder, "pwned")}`))],
  ["builtins.eval", py.call(py.global("builtins", "eval"), py.str("1"))],
  ["__builtin__.exec", py.dict({ x: py.call(py.global("__builtin__", "exec"), py.str("1")), w: some })],
  ["torch.load", py.call(py.global("torch", "load"), py.str("x"))],
  ["torch.FloatStorage", py.call(py.global("torch", "FloatStorage"), py.int(1))],
  ["collections.__proto__", py.global("collections", "__proto__")],
  ["torch.constructor", py.global("torch", "constructor")],
  ["numpy.core.multiarray._reconstruct", py.global("numpy.core.multiarray", "_reconstruct")],
];
for (const [name, value] of hostile) {
  test(`A pickle that asks for ${name} is refused by that name, and nothing is run`, () => {
    const message = messageOf(py.archive(value, { 0: counting }));
    expect(message).toContain(
      `its pickle cannot be read: it asks for Python's ${name}, which is refused and was not run`,
    );
    expect(existsSync(join(folder, "pwned"))).toBe(false);
  });
}

const raw = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);
const tampered = py.build(py.tensor(floats, [2], [1]), py.dict({ shape: py.list(py.int(1 << 20)) }));
const wrong: [string, py.Pickled, string][] = [
  ["nothing in it", raw(), "holds undefined, expected a state_dict"],
  ["an unknown opcode", raw(0xfe), "Unsupported opcode '254'"],
  ["a text longer than the file", raw(0x58, 255, 255, 255, 127), "more bytes"],
  ["a length below zero", raw(0x42, 0xfa, 0xff, 0xff, 0xff), "it has a length below zero"],
  ["a tensor changed after it was made", py.dict({ w: tampered }), "pickle cannot be read"],
  ["a tensor of nothing", py.dict({ w: py.tensor(py.int(0), [2], [1]) }), "it has a tensor that is wrongly described"],
  ["strides that do not fit the shape", py.dict({ w: py.tensor(floats, [2], [1, 1]) }), "wrongly described"],
  ["a negative shape", py.dict({ w: py.tensor(floats, [-2], [1]) }), "wrongly described"],
  [
    "a storage of no known kind",
    py.dict({ w: py.tensor(py.storage("Size", "0", 1), [1], [1]) }),
    "it has a storage of an unknown dtype",
  ],
  [
    "a storage that is missing",
    py.dict({ w: py.tensor(py.storage("FloatStorage", "9", 1), [1], [1]) }),
    "tensor w: its numbers, data/9, are missing",
  ],
  [
    "a storage elsewhere",
    py.dict({ w: py.tensor(py.storage("FloatStorage", "../data.pkl", 1), [1], [1]) }),
    "are missing",
  ],
  [
    "a tensor beyond its storage",
    py.dict({ w: py.tensor(floats, [5, 5], [5, 1]) }),
    "tensor w: F32 [5, 5] reaches to element 25, data/0 has 24",
  ],
  ["an offset beyond its storage", py.dict({ w: py.tensor(floats, [1], [1], 24) }), "reaches to element 25"],
  [
    "a storage that claims too much",
    py.dict({ w: py.tensor(py.storage("FloatStorage", "0", 99), [30], [1]) }),
    "data/0 has 24",
  ],
  ["a tensor blown up by repeats", py.dict({ w: py.tensor(floats, [10_000, 10_000], [0, 0]) }), "repeats 1 numbers"],
  [
    "a tensor of exabytes",
    py.dict({ w: py.tensor(floats, [2 ** 30, 2 ** 30], [0, 0]) }),
    "cannot be held in one piece",
  ],
];
for (const [what, value, message] of wrong) {
  test(`A pickle with ${what} is refused`, () =>
    expect(messageOf(py.archive(value, { 0: counting }))).toContain(message));
}

const others: [string, () => Uint8Array, string][] = [
  [
    "PyTorch's old format",
    () => py.pickle(some),
    "is in PyTorch's format before 1.6. Save it anew in PyTorch: torch.save(",
  ],
  [
    "big-endian numbers",
    () => py.archive(some, { 0: counting }, { more: { byteorder: "big" } }),
    "its numbers are big-endian",
  ],
  [
    "TorchScript",
    () => py.archive(some, { 0: counting }, { more: { "constants.pkl": "x" } }),
    "is TorchScript, a program",
  ],
  ["a zip of something else", () => zipSync({ "notes.txt": raw(1) }), "not PyTorch's"],
  ["text", () => Buffer.from("hello, world"), "is not a PyTorch file: it does not begin as a zip archive"],
  ["HDF5", () => raw(0x89, 0x48, 0x44, 0x46, 13, 10), "is an HDF5 file, expected safetensors or PyTorch"],
];
for (const [what, bytes, message] of others) {
  test(`A file of ${what} is refused`, () => expect(messageOf(bytes())).toContain(message));
}

test("A little-endian file that says so is read", () => {
  expect(messageOf(py.archive(some, { 0: counting }, { more: { byteorder: "little" } }))).toBe("it was read");
});

test("An archive with zip64's fields, as above 4 GiB, is read; one cut short is refused", () => {
  const bytes = py.toZip64(py.archive(some, { 0: counting }));
  expect([...open(bytes).get("w").data]).toEqual([0, 1]);
  for (let length = 0; length < bytes.length; length += 3) {
    expect(messageOf(bytes.subarray(0, length))).toMatch(/cut short|is empty|does not begin as a zip/);
  }
});

test("A file cut at any byte is refused", () => {
  const whole = py.archive(some, { 0: counting });
  for (let length = 0; length < whole.length; length += 3) {
    expect(messageOf(whole.subarray(0, length))).toMatch(/cut short|is empty|does not begin as a zip/);
  }
});

test("A bit flipped anywhere is refused or does no harm, and never anything but a FileError", () => {
  const whole = py.archive(some, { 0: counting }, { level: 6 });
  const read = () => [...openPth(path).get("w").data];
  for (let at = 0; at < whole.length; at++) {
    const bytes = Uint8Array.from(whole);
    bytes[at]! ^= 1 << (at % 8);
    const message = messageOf(bytes);
    if (message === "it was read" && openPth(path).has("w")) expect(read()).toEqual([0, 1]);
  }
});

test("A damaged number in a storage is found by its checksum", () => {
  const whole = py.archive(some, { 0: counting });
  const at = Buffer.from(whole).indexOf(Buffer.from(counting.buffer));
  whole[at + 7]! ^= 1;
  expect(messageOf(whole)).toContain("the zip archive is damaged: archive/data/0 does not match its checksum");
});

const reference = join(import.meta.dirname, "../../../shared/reference");
test.skipIf(!existsSync(reference))("PyTorch's own files are read (skipped where ../shared is absent)", () => {
  for (const [name, layers] of [
    ["dense", 2],
    ["yarn", 2],
    ["lora", 2],
  ] as const) {
    const { config } = JSON.parse(readFileSync(join(reference, `${name}.json`), "utf8"));
    const tensors = readPth(join(reference, `${name}.pth`));
    const embedding = tensors.get("model.embed_tokens.weight")!;
    expect(tensors.size).toBe(3 + 11 * layers);
    expect(embedding.dtype).toBe("F16");
    expect(embedding.shape).toEqual([config.vocab_size, config.hidden_size]);
    expect(tensors.get("lm_head.weight")!.data).toEqual(embedding.data);
    for (const tensor of tensors.values()) expect(toFloat32(tensor).every(Number.isFinite)).toBe(true);
  }
  const dense = readPth(join(reference, "dense.pth")).get("model.embed_tokens.weight")!;
  expect([...dense.data.subarray(0, 3)]).toEqual([-0.043365478515625, -0.0274505615234375, 0.2471923828125]);
});
