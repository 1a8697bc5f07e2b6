import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { replaceFolderAtomic } from "../../framework/checkpoint/file.ts";
import { fromFloat32, type HostTensor } from "../../framework/checkpoint/host.ts";
import { openCheckpoint } from "../../framework/checkpoint/load.ts";
import { writeSafetensors } from "../../framework/checkpoint/safetensors.ts";
import { writeSafetensorsFolder } from "../../framework/checkpoint/shards.ts";
import * as py from "./fixtures.ts";

const root = mkdtempSync(join(tmpdir(), "micromind-load-"));
afterAll(() => rmSync(root, { recursive: true }));

let count = 0;
function folderOf(files: Record<string, string | Uint8Array>): string {
  const folder = join(root, String(count++));
  mkdirSync(folder);
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), content);
  return folder;
}

const pth = (value: number): Uint8Array =>
  py.archive(py.dict({ w: py.tensor(py.storage("FloatStorage", "0", 1), [1], [1]) }), { 0: Float32Array.of(value) });
const safe = (value: number): Uint8Array =>
  py.safetensors(
    { w: { dtype: "F32", shape: [1], data_offsets: [0, 4] } },
    new Uint8Array(Float32Array.of(value).buffer),
  );
const valueIn = (path: string): unknown => openCheckpoint(path).get("w").data[0];

test("A file is opened by what it holds, whatever its name", () => {
  const folder = folderOf({ "a.bin": safe(1), "b.ckpt": pth(2), c: safe(3) });
  expect(["a.bin", "b.ckpt", "c"].map((name) => valueIn(join(folder, name)))).toEqual([1, 2, 3]);
});

test("A folder's checkpoint is found, safetensors before PyTorch, the known names before others", () => {
  const index = JSON.stringify({ weight_map: { w: "part.bin" } });
  expect(
    valueIn(folderOf({ "model.safetensors": safe(1), "pytorch_model.bin": pth(2), "x.safetensors": safe(3) })),
  ).toBe(1);
  expect(valueIn(folderOf({ "pytorch_model.bin": pth(2), "x.safetensors": safe(3) }))).toBe(2);
  expect(valueIn(folderOf({ "x.safetensors": safe(3), "y.pth": pth(4) }))).toBe(3);
  expect(valueIn(folderOf({ "y.pth": pth(4), "README.md": "", ".z.pth": "" }))).toBe(4);
  expect(valueIn(folderOf({ "pytorch_model.bin.index.json": index, "part.bin": pth(5) }))).toBe(5);
});

test("The config beside a checkpoint comes with it", () => {
  const folder = folderOf({ "model.safetensors": safe(1), "config.json": '{"hidden_size": 8}' });
  expect(openCheckpoint(folder).config).toEqual({ hidden_size: 8 });
  expect(openCheckpoint(join(folder, "model.safetensors")).config).toEqual({ hidden_size: 8 });
  expect(openCheckpoint(folder).path).toBe(folder);
  expect(openCheckpoint(folderOf({ "model.safetensors": safe(1) })).config).toBeUndefined();
  const broken = folderOf({ "model.safetensors": safe(1), "config.json": '{"hidden_size": 8' });
  expect(() => openCheckpoint(broken)).toThrow(`${join(broken, "config.json")}: is not JSON (`);
  const list = folderOf({ "model.safetensors": safe(1), "config.json": "[1]" });
  expect(() => openCheckpoint(list)).toThrow("config.json: holds [1], expected an object");
});

test("A config.jsonc is read where there is no config.json", () => {
  const jsonc = '{ // sizes\n "hidden_size": 8,\n}';
  const alone = folderOf({ "model.safetensors": safe(1), "config.jsonc": jsonc });
  expect(openCheckpoint(alone).config).toEqual({ hidden_size: 8 });
  const both = folderOf({ "model.safetensors": safe(1), "config.jsonc": jsonc, "config.json": '{"hidden_size": 16}' });
  expect(openCheckpoint(both).config).toEqual({ hidden_size: 16 });
  const broken = folderOf({ "model.safetensors": safe(1), "config.jsonc": "{ // sizes" });
  expect(() => openCheckpoint(broken)).toThrow(`${join(broken, "config.jsonc")}: is not JSON (`);
});

test("A closed checkpoint of any kind is not read on, and still knows its names", () => {
  const index = JSON.stringify({ weight_map: { w: "part.bin" } });
  const folders: Record<string, string | Uint8Array>[] = [
    { "model.safetensors": safe(1) },
    { "y.pth": pth(2) },
    { "model.safetensors.index.json": index, "part.bin": safe(3) },
  ];
  for (const files of folders) {
    const checkpoint = openCheckpoint(folderOf(files));
    checkpoint.get("w");
    checkpoint.close();
    checkpoint.close();
    expect(() => checkpoint.get("w")).toThrow("was closed; open it again to read on");
    expect(checkpoint.names()).toEqual(["w"]);
  }
});

test("A missing, an empty and an ambiguous folder are told apart", () => {
  const missing = join(root, "missing");
  expect(() => openCheckpoint(missing)).toThrow(`${missing}: cannot be read: no such file or folder`);
  const empty = folderOf({ "README.md": "" });
  expect(() => openCheckpoint(empty)).toThrow(`${empty}: holds no checkpoint, expected model.safetensors,`);
  const two = folderOf({ "a.pth": pth(1), "b.pth": pth(2) });
  expect(() => openCheckpoint(two)).toThrow(
    `${two}: holds several checkpoints (a.pth, b.pth); name the file that is meant`,
  );
});

const tensors = new Map<string, HostTensor>(
  ["a", "b", "c", "d"].map((name, i) => [name, fromFloat32(Float32Array.of(i, i, i), [3])]),
);

test("A large model is written in shards with an index, and read back", async () => {
  const folder = join(root, "sharded");
  const files = await replaceFolderAtomic(folder, (to) => writeSafetensorsFolder(to, tensors, { maxShardBytes: 30 }));
  expect(files).toEqual([
    ...["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
  ]);
  expect(readdirSync(folder).sort()).toEqual(files.toSorted());
  const read = openCheckpoint(folder);
  expect(read.names()).toEqual(["a", "b", "c", "d"]);
  expect(read.metadata).toEqual({ format: "pt" });
  expect(read.names().map((name) => read.get(name).data[2])).toEqual([0, 1, 2, 3]);
  expect(read.info("d")).toEqual({ shape: [3], dtype: "F32" });
  expect(() => read.get("e")).toThrow("has no tensor e; it has 4: a, b, c, d");
  expect(read.files).toHaveLength(3);
});

test("A small model is one file", async () => {
  const folder = join(root, "whole");
  expect(await writeSafetensorsFolder(folder, tensors)).toEqual(["model.safetensors"]);
  expect(openCheckpoint(folder).names()).toEqual(["a", "b", "c", "d"]);
});

test("A shard that is missing or lacks a tensor, and an index that points elsewhere, are refused", async () => {
  const index = (map: unknown): string => folderOf({ "model.safetensors.index.json": JSON.stringify(map) });
  const missing = index({ weight_map: { w: "gone.safetensors" } });
  expect(() => openCheckpoint(missing)).toThrow(`${join(missing, "gone.safetensors")}: cannot be read: no such file`);
  const lacking = index({ weight_map: { w: "a.safetensors", v: "a.safetensors" } });
  await writeSafetensors(join(lacking, "a.safetensors"), { w: tensors.get("a")! });
  expect(() => openCheckpoint(lacking)).toThrow("says that tensor v is in a.safetensors, which does not have it");
  for (const file of ["../a.safetensors", "/etc/passwd", "..", "", "x\\y", 3]) {
    expect(() => openCheckpoint(index({ weight_map: { w: file } }))).toThrow(
      `places tensor w in ${JSON.stringify(file)}, expected a file of the same folder`,
    );
  }
  expect(() => openCheckpoint(index({ weights: {} }))).toThrow("has no weight_map");
});
