import { DTypeError } from "../device/errors.ts";
import { writeStreamAtomic } from "./file.ts";
import { byteLength, expectHostTensor, type FileDType, sizeOf } from "./host.ts";
import type { TensorToWrite } from "./safetensors.ts";
import { type ZipContent, zipStream } from "./zipWrite.ts";

const storages: Partial<Record<FileDType, string>> = {
  ...{ F64: "DoubleStorage", F32: "FloatStorage", F16: "HalfStorage", BF16: "BFloat16Storage" },
  ...{ I64: "LongStorage", I32: "IntStorage", I16: "ShortStorage", I8: "CharStorage" },
  ...{ U8: "ByteStorage", BOOL: "BoolStorage" },
};

/**
 * Writes a state_dict as `torch.save` does, whole or not at all, a tensor at a time in memory; `torch.load` reads it, with
 * `weights_only` too.
 * @param tied second names of tensors, each with the name that holds the numbers: `{ "lm_head.weight": "model.embed_tokens.weight" }`
 * @throws FileError where it cannot be saved, ShapeError or DTypeError where data does not fit its shape and dtype
 */
export async function writePth(
  path: string,
  tensors: ReadonlyMap<string, TensorToWrite>,
  tied: Readonly<Record<string, string>> = {},
): Promise<void> {
  for (const [name, { dtype }] of tensors)
    if (!storages[dtype]) throw new DTypeError(`${path}: tensor ${name} is ${dtype}, which PyTorch does not know`);
  const needBytes = [...tensors.values()].reduce((sum, tensor) => sum + byteLength(tensor) + 512, 0);
  await writeStreamAtomic(path, zipStream(contents(path, tensors, tied)), { needBytes });
}

async function* contents(
  path: string,
  tensors: ReadonlyMap<string, TensorToWrite>,
  tied: Readonly<Record<string, string>>,
): AsyncGenerator<ZipContent> {
  const text = (name: string, content: string) => ({ name: `archive/${name}`, bytes: Buffer.from(content) });
  yield { name: "archive/data.pkl", bytes: pickle(tensors, tied) };
  yield text("byteorder", "little");
  let key = 0;
  for (const [name, tensor] of tensors) {
    const data = typeof tensor.data === "function" ? await tensor.data() : tensor.data;
    expectHostTensor(`${path}: tensor ${name}`, tensor, data);
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    yield { name: `archive/data/${key++}`, bytes };
  }
  yield text("version", "3\n");
}

/** Pickle of protocol 2: an OrderedDict of names and tensors. https://peps.python.org/pep-0307/ */
function pickle(
  tensors: ReadonlyMap<string, TensorToWrite>,
  tied: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const keys = new Map([...tensors.keys()].map((name, key) => [name, key]));
  const entry = (name: string, holder: string) => str(name) + tensorOf(tensors.get(holder)!, keys.get(holder)!);
  const entries = [...tensors.keys()].map((name) => entry(name, name));
  const seconds = Object.entries(tied).map(([name, holder]) => entry(name, holder));
  const body = `\x80\x02${orderedDict}(${entries.join("")}${seconds.join("")}u.`;
  return Uint8Array.from(Buffer.from(body, "latin1"));
}

// Opcodes in latin1: a character a byte.
const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer).toString("latin1");
const str = (value: string) => `X${u32(Buffer.byteLength(value))}${Buffer.from(value, "utf8").toString("latin1")}`;
const tuple = (items: readonly string[]) => `(${items.join("")}t`;
const orderedDict = "ccollections\nOrderedDict\n)R";

/** A whole number: in 4 bytes, or where those do not hold it in 8 of a long. */
function int(value: number): string {
  if (value < 2 ** 31) return `J${u32(value)}`;
  return `\x8a\x08${Buffer.from(BigInt64Array.of(BigInt(value)).buffer).toString("latin1")}`;
}

/** `_rebuild_tensor_v2(storage, offset 0, shape, strides, requires_grad False, no hooks)`. */
function tensorOf({ shape, dtype }: TensorToWrite, key: number): string {
  const kind = `ctorch\n${storages[dtype]}\n`;
  const storage = `${tuple([str("storage"), kind, str(String(key)), str("cpu"), int(sizeOf(shape))])}Q`;
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  const sizes = [shape, strides].map((list) => tuple(list.map(int)));
  return `ctorch._utils\n_rebuild_tensor_v2\n${tuple([storage, int(0), ...sizes, "\x89", orderedDict])}R`;
}
