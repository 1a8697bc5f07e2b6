/**
 * Python's pickle, restricted: it builds tensors' descriptions out of plain values and knows no other name. A pickle is a
 * program that may call any function of Python; here a name outside the list below ends the reading, and nothing is run.
 */
import { BufferReader, Parser } from "pickleparser";
import { type FileDType, fileDTypes } from "./host.ts";

/** The numbers of one or several tensors: an entry `data/<key>` of the archive. */
export class Storage {
  constructor(
    readonly dtype: FileDType,
    readonly key: string,
    /** Elements. */
    readonly size: number,
  ) {
    Object.freeze(this); // a pickle can set the properties of what it built
  }
}

/** A window into a storage; `offset` and `strides` count elements. */
export class StoredTensor {
  constructor(
    readonly storage: Storage,
    readonly offset: number,
    readonly shape: readonly number[],
    readonly strides: readonly number[],
  ) {
    Object.freeze(this);
  }
}

/** The name of something that stands for itself, such as `torch.float32`. */
class Name {
  constructor(readonly name: string) {}
}

const storages: Record<string, FileDType> = {
  ...{ DoubleStorage: "F64", FloatStorage: "F32", HalfStorage: "F16", BFloat16Storage: "BF16" },
  ...{ LongStorage: "I64", IntStorage: "I32", ShortStorage: "I16", CharStorage: "I8" },
  ...{ ByteStorage: "U8", BoolStorage: "BOOL" },
};

type Callable = (...args: unknown[]) => unknown;

/** What a pickle of tensors may call. Each must take what it is given by a hostile file. */
const callables: Record<string, () => Callable> = {
  "collections.OrderedDict": () => (pairs) => new Map(Array.isArray(pairs) ? (pairs as [unknown, unknown][]) : []),
  "torch.Size": () => (sizes) => sizes,
  "torch.device": () => (name) => new Name(`torch.device(${String(name)})`),
  "torch._utils._rebuild_tensor_v2": () => rebuildTensor,
  "torch._utils._rebuild_parameter": () => (tensor) => tensor,
};

const plainNames = /^torch\.(float64|float32|float16|bfloat16|int64|int32|int16|int8|uint8|bool)$/;

/**
 * @param bytes `data.pkl` of a PyTorch archive
 * @returns dicts as Map, lists and tuples as arrays, tensors as StoredTensor
 * @throws Error that says what is wrong; for a name that is not allowed, which
 */
export function unpickle(bytes: Uint8Array<ArrayBuffer>): unknown {
  const parser = new Parser({
    unpicklingTypeOfDictionary: "Map",
    unpicklingTypeOfSet: "Set",
    nameResolver: { resolve: resolveName },
    persistentResolver: { resolve: (id) => resolveStorage(id as unknown) },
  });
  return parser.read(new GuardedReader(bytes));
}

/** A length below zero would move backwards and run the same bytes for ever. */
class GuardedReader extends BufferReader {
  override skip(count: number): void {
    if (!(count >= 0)) throw new Error("it has a length below zero");
    super.skip(count);
  }
}

/** A fresh function for each mention, so that whatever a pickle does to it stays with that mention. */
function resolveName(module: string, name: string): Callable {
  const full = `${module}.${name}`;
  if (Object.hasOwn(callables, full)) return callables[full]!().bind(undefined);
  if (module === "torch" && (Object.hasOwn(storages, name) || plainNames.test(full))) {
    return Object.assign(() => refuse(full), { stands: new Name(full) });
  }
  return refuse(full);
}

function refuse(name: string): never {
  const kinds = "a file of weights needs only tensors, dicts, lists, numbers and texts";
  throw new Error(
    `it asks for Python's ${name}, which is refused and was not run: ${kinds}. If you trust the file, ` +
      `load it in PyTorch and save its state_dict() anew`,
  );
}

/** ("storage", a storage's class, key, device, elements). */
function resolveStorage(id: unknown): Storage {
  if (!Array.isArray(id) || id[0] !== "storage") throw new Error("it refers to something that is not a storage");
  const [, kind, key, , size] = id as unknown[];
  const name = (kind as { stands?: Name } | undefined)?.stands?.name ?? "";
  const dtype = storages[name.replace(/^torch\./, "")];
  if (dtype === undefined || fileDTypes[dtype] === undefined) throw new Error("it has a storage of an unknown dtype");
  if (typeof key !== "string" || !isCount(size)) throw new Error("it has a storage without key or size");
  return new Storage(dtype, key, size);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
/** PyTorch's own limit on a tensor's axes. */
const mostAxes = 64;
const areCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.length <= mostAxes && value.every(isCount);

/** torch._utils._rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad, backward_hooks). */
function rebuildTensor(storage: unknown, offset: unknown, shape: unknown, strides: unknown): StoredTensor {
  const fits = storage instanceof Storage && isCount(offset) && areCounts(shape) && areCounts(strides);
  if (!fits || shape.length !== strides.length) throw new Error("it has a tensor that is wrongly described");
  // Copied, since the pickle may go on to change its own lists.
  return new StoredTensor(storage, offset, [...shape], [...strides]);
}
