import { afterAll, beforeEach, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileError } from "../../framework/checkpoint/file.ts";
import { latestState, saveState } from "../../framework/run/state.ts";

const root = fs.mkdtempSync(join(tmpdir(), "state-"));
afterAll(() => {
  if (mounted) spawnSync("umount", [small]);
  fs.rmSync(root, { recursive: true });
});
let dir: string;
beforeEach(() => {
  dir = fs.mkdtempSync(join(root, "run-"));
});

const state = (value: number, size = 3) => ({
  tensors: {
    "model.weight": { shape: [size], dtype: "F32" as const, data: () => new Float32Array(size).fill(value) },
    "optimizer.step": { shape: [], dtype: "I32" as const, data: Int32Array.of(value) },
  },
  meta: { random: { seed: 7, step: value }, text: "长沙" },
});
const list = () => fs.readdirSync(dir).sort();
const warnings: string[] = [];
const latest = () => {
  warnings.length = 0;
  return latestState(dir, (text) => warnings.push(text));
};

test("a saved state comes back, tensors and facts", async () => {
  expect(await saveState(dir, 123, state(5))).toBe(join(dir, "step-000123"));
  const found = (await latest())!;
  expect(found.step).toBe(123);
  expect(found.meta).toEqual({ random: { seed: 7, step: 5 }, text: "长沙" });
  expect([...found.tensors.get("model.weight").data]).toEqual([5, 5, 5]);
  expect([...found.tensors.get("optimizer.step").data]).toEqual([5]);
  expect(warnings).toEqual([]);
});

test("the last two states are kept, and a step saved anew takes its own place", async () => {
  for (const step of [5, 10, 15, 15]) await saveState(dir, step, state(step));
  expect(list()).toEqual(["step-000010", "step-000015"]);
});

test("where nothing was saved there is no state", async () => {
  expect(await latest()).toBeUndefined();
  expect(await latestState(join(dir, "none"))).toBeUndefined();
});

const step20 = "step-000020";
const damages: [what: string, harm: () => void, reason: string][] = [
  ["tensors cut short", () => fs.truncateSync(join(dir, step20, "tensors.safetensors"), 40), "has 40 bytes, expected"],
  ["tensors missing", () => fs.rmSync(join(dir, step20, "tensors.safetensors")), "tensors.safetensors is missing"],
  ["facts missing", () => fs.rmSync(join(dir, step20, "state.json")), "no such file"],
  ["facts cut short", () => fs.truncateSync(join(dir, step20, "state.json"), 30), "it may be cut short"],
  ["a bit flipped in a tensor", () => flip("tensors.safetensors"), "its checksum has changed"],
  ["facts changed", () => replace("state.json", '"seed":7', '"seed":8'), "its checksum has changed"],
  ["facts of another step", () => replace("state.json", '{"step":20', '{"step":21'), "is of step 21"],
];
const flip = (name: string) => {
  const file = join(dir, step20, name);
  const bytes = fs.readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  fs.writeFileSync(file, bytes);
};
const replace = (name: string, from: string, to: string) => {
  const file = join(dir, step20, name);
  fs.writeFileSync(file, fs.readFileSync(file, "utf8").replace(from, to));
};

for (const [what, harm, reason] of damages)
  test(`a state with ${what} is passed over for the one before, and does not cost it its place`, async () => {
    await saveState(dir, 10, state(10));
    await saveState(dir, 20, state(20));
    harm();
    const found = (await latest())!;
    expect(found.step).toBe(10);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toContain(join(dir, step20));
    expect(warnings[0]).toContain(reason);
    await saveState(dir, 15, state(15));
    expect(list()).toEqual(["step-000010", "step-000015"]);
  });

test("what a process killed while saving left behind is no state, and is cleared by the next save", async () => {
  await saveState(dir, 10, state(10));
  const script = `
    import { saveState } from ${JSON.stringify(join(import.meta.dirname, "../../framework/run/state.ts"))};
    const data = () => process.kill(process.pid, "SIGKILL") && new Promise(() => {});
    await saveState(${JSON.stringify(dir)}, 20, { tensors: { a: { shape: [1], dtype: "F32", data } }, meta: null });`;
  const file = join(root, "killed.ts");
  fs.writeFileSync(file, script);
  expect(spawnSync(process.execPath, [file]).signal).toBe("SIGKILL");
  expect(list()).toHaveLength(2);
  expect((await latest())!.step).toBe(10);
  await saveState(dir, 30, state(30));
  expect(list()).toEqual(["step-000010", "step-000030"]);
});

test("an error while tensors are read leaves nothing behind and the state of before whole", async () => {
  await saveState(dir, 10, state(10));
  const data = () => Promise.reject(new Error("device lost"));
  const tensors = { a: { shape: [1], dtype: "F32" as const, data } };
  expect(saveState(dir, 20, { tensors, meta: null })).rejects.toThrow("device lost");
  await Bun.sleep(20);
  expect(list()).toEqual(["step-000010"]);
});

const small = join(root, "small");
fs.mkdirSync(small);
const mounted =
  process.platform === "linux" && spawnSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", small]).status === 0;

test.skipIf(!mounted)("on a full disk saving says what is needed and keeps the state of before", async () => {
  dir = join(small, "state");
  await saveState(dir, 10, state(10));
  const failed = await saveState(dir, 20, state(20, 100_000)).catch((error) => error);
  expect(failed).toBeInstanceOf(FileError);
  expect(failed.message).toContain(
    `${dir}/step-000020/tensors.safetensors: could not be saved: the disk is full, 0.4 MB needed`,
  );
  expect(list()).toEqual(["step-000010"]);
  expect((await latest())!.step).toBe(10);
  await saveState(dir, 30, state(30));
  expect(list()).toEqual(["step-000010", "step-000030"]);
});
