import { afterAll, expect, spyOn, test } from "bun:test";
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  FileError,
  freeBytes,
  replaceFolderAtomic,
  writeFileAtomic,
  writeStreamAtomic,
} from "../../framework/checkpoint/file.ts";
import { liveness, processTag, removeStale } from "../../framework/checkpoint/temporary.ts";

const folder = fs.mkdtempSync(join(tmpdir(), "micromind-file-"));
/** A disk of one megabyte, where this machine lets us mount one. */
const disk = join(folder, "disk");
fs.mkdirSync(disk);
const hasDisk = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]).status === 0;
afterAll(() => {
  if (hasDisk) spawnSync("umount", [disk]);
  fs.rmSync(folder, { recursive: true });
});

let count = 0;
function emptyFolder(): string {
  const path = join(folder, String(count++));
  fs.mkdirSync(path);
  return path;
}
const read = (path: string): string => fs.readFileSync(path, "utf8");

function failure(run: () => unknown): FileError {
  try {
    run();
  } catch (error) {
    if (error instanceof FileError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

async function failureOf(promise: Promise<unknown>): Promise<FileError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return failure(() => {
    throw error;
  });
}

/** A tag of a process that has ended. */
function deadTag(): string {
  const { pid } = spawnSync("true");
  return processTag().replace(/-\d+-\d+$/, `-${pid}-12345`);
}

test("A file is written from text, bytes, views into larger buffers and iterables, and nothing else is left", async () => {
  const inside = emptyFolder();
  const path = join(inside, "deep", "down", "a.txt");
  writeFileAtomic(path, "héllo");
  expect(read(path)).toBe("héllo");
  writeFileAtomic(path, new Uint8Array([0, 65, 66, 0]).subarray(1, 3));
  expect(read(path)).toBe("AB");
  writeFileAtomic(path, new Uint16Array([0, 0x4241]).subarray(1));
  expect(read(path)).toBe("AB");
  writeFileAtomic(path, ["x", new Uint8Array([121]), "z"]);
  expect(read(path)).toBe("xyz");
  writeFileAtomic(path, []);
  expect(read(path)).toBe("");
  await writeStreamAtomic(
    path,
    (async function* () {
      yield "one ";
      await Promise.resolve();
      yield "two";
    })(),
  );
  expect(read(path)).toBe("one two");
  expect(fs.readdirSync(join(inside, "deep", "down"))).toEqual(["a.txt"]);
});

test("A save that is cut off by what it is fed leaves the old file and no other", async () => {
  const inside = emptyFolder();
  const path = join(inside, "a.txt");
  writeFileAtomic(path, "old");
  const broken = function* () {
    yield "half";
    throw new RangeError("no more");
  };
  expect(() => writeFileAtomic(path, broken())).toThrow(new RangeError("no more"));
  const brokenLater = async function* () {
    yield* broken();
  };
  await expect(writeStreamAtomic(path, brokenLater())).rejects.toThrow(new RangeError("no more"));
  expect(read(path)).toBe("old");
  expect(fs.readdirSync(inside)).toEqual(["a.txt"]);
});

test("A saved file keeps the mode of the file it replaces", () => {
  const path = join(emptyFolder(), "secret");
  writeFileAtomic(path, "a");
  fs.chmodSync(path, 0o600);
  writeFileAtomic(path, "b");
  expect(fs.statSync(path).mode & 0o777).toBe(0o600);
});

test("The error of a save names the file and the cause", () => {
  const inside = emptyFolder();
  fs.mkdirSync(join(inside, "taken"));
  const taken = failure(() => writeFileAtomic(join(inside, "taken"), "x"));
  expect(taken.message).toBe(
    `${join(inside, "taken")}: could not be saved: a folder of this name stands there; ` +
      "move it away or choose another name (what was there before is kept)",
  );
  expect(taken.code).toBe("EISDIR");
  expect(taken.file).toBe(join(inside, "taken"));
  fs.writeFileSync(join(inside, "plain"), "");
  const below = failure(() => writeFileAtomic(join(inside, "plain", "x"), "x"));
  expect(below.message).toContain("could not be saved: part of its path is a file, not a folder (nothing was written)");
});

test("A folder takes its target's place whole, and is taken away where it fails", async () => {
  const inside = emptyFolder();
  const path = join(inside, "state");
  const fill = (text: string) => (to: string) => {
    fs.writeFileSync(join(to, text), text);
    fs.mkdirSync(join(to, "more"));
    fs.writeFileSync(join(to, "more", "b"), text);
    return text.length;
  };
  expect(await replaceFolderAtomic(path, fill("first"))).toBe(5);
  expect(await replaceFolderAtomic(path, fill("second"))).toBe(6);
  expect(fs.readdirSync(path).sort()).toEqual(["more", "second"]);
  expect(read(join(path, "more", "b"))).toBe("second");
  const failed = replaceFolderAtomic(path, (to) => {
    fs.writeFileSync(join(to, "half"), "");
    throw new RangeError("no more");
  });
  await expect(failed).rejects.toThrow(new RangeError("no more"));
  expect(fs.readdirSync(path).sort()).toEqual(["more", "second"]);
  expect(fs.readdirSync(inside)).toEqual(["state"]);
  const file = join(inside, "file");
  fs.writeFileSync(file, "kept");
  const error = await failureOf(replaceFolderAtomic(file, fill("x")));
  expect(error.message).toBe(`${file}: is a file, expected a folder or nothing there`);
  expect(read(file)).toBe("kept");
});

test("A process's tag says whether it lives, and a process number used anew is another process", () => {
  const tag = processTag();
  expect(liveness(tag)).toBe("alive");
  expect(liveness(deadTag())).toBe("dead");
  if (fs.existsSync("/proc/self/stat")) expect(liveness(tag.replace(/\d+$/, "12345"))).toBe("dead");
  expect(liveness("00000000-1-1")).toBe("elsewhere");
});

test("What dead processes left is removed, a folder on its way out is given back, the rest stays", () => {
  const inside = emptyFolder();
  const place = (name: string, isFolder = false) =>
    isFolder ? fs.mkdirSync(join(inside, name)) : fs.writeFileSync(join(inside, name), "");
  const [alive, dead] = [processTag(), deadTag()];
  const kept = [`.a.tmp-${alive}-00000001`, ".a.tmp-00000000-1-1-00000002", "a", ".a.tmp-notes"];
  for (const name of kept) place(name);
  place(`.a.tmp-${dead}-00000003`);
  place(`.b.tmp-${dead}-00000004`, true);
  place(`.b.old-${dead}-00000004`, true);
  place(".c.tmp-00000000-1-1-00000005");
  const longAgo = new Date(Date.now() - 3 * 24 * 60 * 60 * 1000);
  fs.utimesSync(join(inside, ".c.tmp-00000000-1-1-00000005"), longAgo, longAgo);
  expect(removeStale(inside, "c")).toHaveLength(1);
  expect(removeStale(inside)).toHaveLength(3);
  expect(fs.readdirSync(inside).sort()).toEqual([...kept, "b"].sort());
});

test("The next save removes what a killed one left of the same file", () => {
  const inside = emptyFolder();
  const mine = `.a.txt.tmp-${deadTag()}-00000001`;
  const other = `.b.txt.tmp-${deadTag()}-00000001`;
  for (const name of [mine, other]) fs.writeFileSync(join(inside, name), "half");
  writeFileAtomic(join(inside, "a.txt"), "whole");
  expect(fs.readdirSync(inside).sort()).toEqual([other, "a.txt"]);
});

test("A process killed in the middle of saving leaves the old file, and the next save clears up", async () => {
  const inside = emptyFolder();
  const path = join(inside, "a.bin");
  writeFileAtomic(path, "old");
  const module = join(import.meta.dirname, "../../framework/checkpoint/file.ts");
  const program = `
    import { writeFileAtomic } from ${JSON.stringify(module)};
    writeFileAtomic(${JSON.stringify(path)}, (function* () {
      yield "new ".repeat(10_000);
      process.kill(process.pid, "SIGKILL");
      yield "never";
    })());`;
  const { signal } = spawnSync(process.execPath, ["-e", program]);
  expect(signal).toBe("SIGKILL");
  expect(read(path)).toBe("old");
  expect(fs.readdirSync(inside)).toHaveLength(2);
  writeFileAtomic(path, "new");
  expect(read(path)).toBe("new");
  expect(fs.readdirSync(inside)).toEqual(["a.bin"]);
});

test("A disk that turns out full only when the file is closed is told the same", () => {
  const path = join(emptyFolder(), "a.txt");
  writeFileAtomic(path, "old");
  const close = spyOn(fs, "closeSync").mockImplementationOnce((descriptor) => {
    close.mockRestore();
    fs.closeSync(descriptor);
    throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
  });
  expect(failure(() => writeFileAtomic(path, "new")).message).toContain("could not be saved: the disk is full");
  expect(read(path)).toBe("old");
  expect(fs.readdirSync(dirname(path))).toEqual(["a.txt"]);
});

test.skipIf(!hasDisk)("A full disk is told with the space needed and free, and the old file stays", () => {
  const path = join(disk, "model.safetensors");
  writeFileAtomic(path, "old");
  const chunk = new Uint8Array(400_000);
  const error = failure(() => writeFileAtomic(path, [chunk, chunk, chunk], { needBytes: 1_200_000 }));
  expect(error.code).toBe("ENOSPC");
  expect(error.message).toBe(
    `${path}: could not be saved: the disk is full, 1.2 MB needed or more, 1.0 MB free; ` +
      "free some space or save elsewhere (what was there before is kept)",
  );
  expect(failure(() => writeFileAtomic(path, [chunk, chunk, chunk])).message).toContain("1.2 MB needed or more");
  expect(read(path)).toBe("old");
  expect(fs.readdirSync(disk)).toEqual(["model.safetensors"]);
  expect(freeBytes(disk)).toBeGreaterThan(1_000_000);
});

test.skipIf(!hasDisk)("A full disk while a folder is replaced leaves the old folder", async () => {
  const path = join(disk, "state");
  await replaceFolderAtomic(path, (to) => writeFileAtomic(join(to, "a"), "old"));
  const error = await failureOf(
    replaceFolderAtomic(path, (to) => writeFileAtomic(join(to, "a"), new Uint8Array(2_000_000))),
  );
  expect(error.message).toStartWith(`${join(path, "a")}: could not be saved: the disk is full, 2.0 MB needed or more`);
  expect(error.message).toEndWith("(what was there before is kept)");
  expect(read(join(path, "a"))).toBe("old");
  expect(fs.readdirSync(disk).filter((name) => name.startsWith("."))).toEqual([]);
});
