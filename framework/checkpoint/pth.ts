/** What `torch.save` writes since PyTorch 1.6: a zip archive of a pickle and, uncompressed, the numbers of each storage. */
import { FileError } from "./file.ts";
import { byteLength, bytesPerElement, describeTensor, fileDTypes, type HostTensor, sizeOf, viewAs } from "./host.ts";
import { type Checkpoint, expectEntry, expectFits, FileSource } from "./source.ts";
import { Storage, StoredTensor, unpickle } from "./unpickle.ts";
import { type ZipEntry, ZipFile } from "./zip.ts";

/**
 * Opens a PyTorch file of weights: a state_dict, or a dict that holds one (`{"model": {...}}`). Tensors are read when asked
 * for; views and transposed tensors come out row by row.
 * @throws FileError that says what is wrong: cut short, damaged, big-endian, of the format before 1.6, TorchScript, without
 *   tensors, or a pickle that asks for anything but tensors, in which case nothing of it is run
 */
export function openPth(path: string): Checkpoint {
  const source = new FileSource(path);
  expectArchive(source);
  const zip = new ZipFile(source);
  const folder = archiveFolder(source, zip);
  const tensors = findStateDict(source, readPickle(source, zip, `${folder}data.pkl`));
  const entries = new Map<StoredTensor, ZipEntry>();
  for (const [name, tensor] of tensors) entries.set(tensor, expectStorage(source, zip, folder, name, tensor));
  return {
    ...{ path, files: [path], metadata: {}, tied: findTied(tensors) },
    names: () => [...tensors.keys()],
    has: (name) => tensors.has(name),
    info(name) {
      const { shape, storage } = expectEntry(path, tensors, name);
      return { shape, dtype: storage.dtype };
    },
    get(name) {
      const tensor = expectEntry(path, tensors, name);
      return readTensor(path, name, zip, entries.get(tensor)!, tensor);
    },
    close: () => source.close(),
  };
}

/**
 * Reads a PyTorch file of weights as a whole. Tied names share one tensor: the same object.
 * @throws FileError as {@link openPth}
 */
export function readPth(path: string): Map<string, HostTensor> {
  const checkpoint = openPth(path);
  const leaders = new Map(checkpoint.tied.flatMap((group) => group.map((name) => [name, group[0]!] as const)));
  const tensors = new Map<string, HostTensor>();
  for (const name of checkpoint.names()) {
    const leader = leaders.get(name);
    tensors.set(name, tensors.get(leader ?? name) ?? checkpoint.get(name));
  }
  return tensors;
}

function expectArchive(source: FileSource): void {
  const start = Buffer.from(source.read(0, Math.min(source.size, 512))).toString("latin1");
  if (start.startsWith("PK\x03\x04")) return;
  const old = start.startsWith("\x80\x02") || start.startsWith("\x80\x03") || start.slice(257, 262) === "ustar";
  if (!old) throw source.error("is not a PyTorch file: it does not begin as a zip archive");
  throw source.error(
    "is in PyTorch's format before 1.6. Save it anew in PyTorch: " +
      'torch.save(torch.load("old.pth", map_location="cpu"), "new.pth")',
  );
}

/** `name/` of `name/data.pkl`. */
function archiveFolder(source: FileSource, zip: ZipFile): string {
  const pickles = [...zip.entries.keys()].filter((name) => /^([^/]+\/)?data\.pkl$/.test(name));
  if (pickles.length !== 1)
    throw source.error(`is a zip archive, but not PyTorch's: it has ${pickles.length} data.pkl`);
  const folder = pickles[0]!.slice(0, -"data.pkl".length);
  if (zip.entries.has(`${folder}constants.pkl`)) {
    throw source.error("is TorchScript, a program. Save its weights in PyTorch: torch.save(model.state_dict(), ...)");
  }
  const order = zip.entries.get(`${folder}byteorder`);
  if (order !== undefined) {
    const text = new TextDecoder().decode(zip.read(order)).trim();
    if (text !== "little")
      throw source.error(`its numbers are ${text}-endian; save it anew on a little-endian machine`);
  }
  return folder;
}

/** A pickle names tensors and holds no numbers of theirs: a model of 10,000 tensors has one of 2 MB. */
const largestPickle = 256 * 2 ** 20;

function readPickle(source: FileSource, zip: ZipFile, name: string): unknown {
  const entry = zip.entries.get(name)!;
  if (entry.size > largestPickle)
    throw source.error(`its pickle has ${entry.size} bytes, too many for names of tensors`);
  const bytes = zip.read(entry);
  try {
    return unpickle(bytes);
  } catch (error) {
    throw source.error(`its pickle cannot be read: ${(error as Error).message}`, error);
  }
}

/** Names under which training scripts keep a model's weights beside other things. */
const wrappers = ["state_dict", "model_state_dict", "model", "module"];

type Tensors = Map<string, StoredTensor>;

function findStateDict(source: FileSource, root: unknown): Tensors {
  const nested = new Map<string, Tensors>();
  for (const [key, value] of root instanceof Map ? root : []) {
    const tensors = tensorsOf(value);
    if (tensors.size > 0) nested.set(String(key), tensors);
  }
  // Before the tensors at the top: a training script's file may keep a random state there.
  const known = wrappers.filter((name) => nested.has(name));
  if (known.length === 1) return nested.get(known[0]!)!;
  const own = tensorsOf(root);
  if (own.size > 0) return own;
  if (nested.size === 1) return [...nested.values()][0]!;
  if (nested.size > 1) {
    const keys = [...nested.keys()].join(", ");
    throw source.error(`holds tensors under several keys (${keys}); save the one that is meant by itself`);
  }
  const what = root instanceof Map ? `a dict with ${keysOf(root)}` : describeValue(root);
  throw source.error(`holds ${what}, expected a state_dict: names and tensors`);
}

function tensorsOf(value: unknown): Tensors {
  if (!(value instanceof Map)) return new Map();
  const isNamed = (entry: [unknown, unknown]): entry is [string, StoredTensor] =>
    typeof entry[0] === "string" && entry[1] instanceof StoredTensor;
  return new Map([...value].filter(isNamed));
}

const keysOf = (map: ReadonlyMap<unknown, unknown>): string =>
  map.size === 0 ? "no keys" : `the keys ${[...map.keys()].slice(0, 5).map(String).join(", ")}`;

function describeValue(value: unknown): string {
  if (value instanceof StoredTensor) return "a single tensor";
  if (value instanceof Storage) return "a single storage";
  return Array.isArray(value) ? "a list" : `${typeof value}`;
}

/** Elements of the storage from the tensor's first to behind its last. */
function spanOf({ offset, shape, strides }: StoredTensor): [begin: number, end: number] {
  if (sizeOf(shape) === 0) return [offset, offset];
  const last = shape.reduce((at, length, axis) => at + (length - 1) * strides[axis]!, offset);
  return [offset, last + 1];
}

function expectStorage(source: FileSource, zip: ZipFile, folder: string, name: string, tensor: StoredTensor): ZipEntry {
  const { storage, shape } = tensor;
  const entry = zip.entries.get(`${folder}data/${storage.key}`);
  if (entry === undefined) throw source.error(`tensor ${name}: its numbers, data/${storage.key}, are missing`);
  const held = Math.min(storage.size, Math.floor(entry.size / bytesPerElement(storage.dtype)));
  const [, end] = spanOf(tensor);
  if (end > held) {
    const info = describeTensor({ shape, dtype: storage.dtype });
    throw source.error(`tensor ${name}: ${info} reaches to element ${end}, data/${storage.key} has ${held}`);
  }
  return entry;
}

/** Groups of names that are the very same window of the same storage. */
function findTied(tensors: Tensors): string[][] {
  const groups = new Map<string, string[]>();
  for (const [name, { storage, offset, shape, strides }] of tensors) {
    if (sizeOf(shape) === 0) continue;
    const place = JSON.stringify([storage.key, storage.dtype, offset, shape, strides]);
    groups.set(place, [...(groups.get(place) ?? []), name]);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

/** A tensor that repeats its elements (stride 0) grows when read; by more than this it is an attack. Bytes. */
const largestExpansion = 256 * 2 ** 20;

function readTensor(path: string, name: string, zip: ZipFile, entry: ZipEntry, tensor: StoredTensor): HostTensor {
  const { shape, storage } = tensor;
  const info = { shape, dtype: storage.dtype };
  expectFits(path, name, info);
  const [begin, end] = spanOf(tensor);
  const size = bytesPerElement(storage.dtype);
  if (byteLength(info) > largestExpansion && sizeOf(shape) > end - begin) {
    const reason = `tensor ${name}: ${describeTensor(info)} repeats ${end - begin} numbers; save it without expand()`;
    throw new FileError(path, reason);
  }
  const data = viewAs(zip.read(entry, begin * size, end * size), storage.dtype);
  return { ...info, data: isContiguous(tensor) ? data : gather(tensor, data) };
}

function isContiguous({ shape, strides }: StoredTensor): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && strides[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Copies a strided window, which begins with the first of `data`, row by row. */
function gather({ shape, strides, storage }: StoredTensor, data: HostTensor["data"]): HostTensor["data"] {
  const result = new fileDTypes[storage.dtype](sizeOf(shape));
  const [from, to] = [data as Float32Array, result as Float32Array];
  const axes = shape.length - 1;
  const [columns, step] = [shape[axes]!, strides[axes]!];
  const index = new Array<number>(axes).fill(0);
  for (let row = 0; row < to.length; row += columns) {
    let at = index.reduce((sum, i, axis) => sum + i * strides[axis]!, 0);
    for (let column = 0; column < columns; column++, at += step) to[row + column] = from[at]!;
    for (let axis = axes - 1; axis >= 0 && ++index[axis]! === shape[axis]; axis--) index[axis] = 0;
  }
  return result;
}
