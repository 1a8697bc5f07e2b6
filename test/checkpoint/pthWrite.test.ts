import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unzipSync } from "fflate";
import { fromFloat32, type HostTensor } from "../../framework/checkpoint/host.ts";
import { openPth } from "../../framework/checkpoint/pth.ts";
import { writePth } from "../../framework/checkpoint/pthWrite.ts";
import { FileSource } from "../../framework/checkpoint/source.ts";
import { ZipFile } from "../../framework/checkpoint/zip.ts";
import { zipStream } from "../../framework/checkpoint/zipWrite.ts";

const folder = mkdtempSync(join(tmpdir(), "micromind-pthwrite-"));
afterAll(() => rmSync(folder, { recursive: true }));
const path = join(folder, "model.pth");

const tensors = new Map<string, HostTensor>([
  ["model.embed_tokens.weight", fromFloat32(Float32Array.of(1, -2, 0.5, 4, 5, 6), [3, 2], "F16")],
  ["model.norm.weight", fromFloat32(Float32Array.of(1.5, -3), [2], "BF16")],
  ["层.scale", fromFloat32(Float32Array.of(0.1), [], "F32")],
]);
const tied = { "lm_head.weight": "model.embed_tokens.weight" };

test("A state_dict is read back, tied names too", async () => {
  await writePth(path, tensors, tied);
  const read = openPth(path);
  expect(read.names()).toEqual([...tensors.keys(), "lm_head.weight"]);
  for (const [name, tensor] of tensors) expect(read.get(name)).toEqual(tensor);
  expect(read.tied).toEqual([["model.embed_tokens.weight", "lm_head.weight"]]);
});

test("The same tensors give the same bytes, each storage at a multiple of 64", async () => {
  await writePth(path, tensors, tied);
  const first = readFileSync(path);
  await writePth(path, tensors, tied);
  expect(readFileSync(path)).toEqual(first);
  expect(Object.keys(unzipSync(first))).toEqual([
    ...[
      "archive/data.pkl",
      "archive/byteorder",
      "archive/data/0",
      "archive/data/1",
      "archive/data/2",
      "archive/version",
    ],
  ]);
  const half = Buffer.from(new Uint8Array(tensors.get("model.embed_tokens.weight")!.data.buffer));
  expect(first.indexOf(half) % 64).toBe(0);
});

/** Python's own zipfile and pickle, with stand-ins for torch: what PyTorch's loader sees. */
const reader = `
import sys, zipfile, pickle, collections, json
archive = zipfile.ZipFile(sys.argv[1]); assert archive.testzip() is None
class Torch:
    def __init__(self, name): self.name = name
class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if module == "collections": return collections.OrderedDict
        if name == "_rebuild_tensor_v2": return lambda storage, offset, size, stride, grad, hooks: [storage, offset, size, stride, grad]
        return Torch(module + "." + name)
    def persistent_load(self, id):
        return [id[0], id[1].name, id[2], id[3], id[4], len(archive.read("archive/data/" + id[2]))]
print(json.dumps(Unpickler(archive.open("archive/data.pkl")).load()))
`;

test.skipIf(!Bun.which("python3"))("Python reads it as what torch.save writes", async () => {
  await writePth(path, tensors, tied);
  const script = join(folder, "read.py");
  writeFileSync(script, reader);
  const { stdout, exitCode } = Bun.spawnSync(["python3", script, path]);
  expect(exitCode).toBe(0);
  const embedding = [["storage", "torch.HalfStorage", "0", "cpu", 6, 12], 0, [3, 2], [2, 1], false];
  expect(JSON.parse(stdout.toString())).toEqual({
    "model.embed_tokens.weight": embedding,
    "model.norm.weight": [["storage", "torch.BFloat16Storage", "1", "cpu", 2, 4], 0, [2], [1], false],
    "层.scale": [["storage", "torch.FloatStorage", "2", "cpu", 1, 4], 0, [], [], false],
    "lm_head.weight": embedding,
  });
});

test("A dtype that PyTorch does not have is refused, and nothing is left", async () => {
  const odd = new Map<string, HostTensor>([["w", { shape: [1], dtype: "U32", data: Uint32Array.of(1) }]]);
  await expect(writePth(join(folder, "odd.pth"), odd)).rejects.toThrow("tensor w is U32, which PyTorch does not know");
  expect(() => openPth(join(folder, "odd.pth"))).toThrow("no such file");
});

test("An archive whose directory needs zip64 is found", async () => {
  // 70,000 entries: more than the end record's 16 bits count.
  const count = 70_000;
  async function* contents() {
    for (let i = 0; i < count; i++) yield { name: `a/${i}`, bytes: Uint8Array.of(i % 256) };
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of zipStream(contents())) chunks.push(chunk as Uint8Array);
  writeFileSync(path, Buffer.concat(chunks));
  const zip = new ZipFile(new FileSource(path));
  expect(zip.entries.size).toBe(count);
  expect([...zip.read(zip.entries.get("a/69999")!)]).toEqual([69_999 % 256]);
});
