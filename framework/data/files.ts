/** Which files a data path means. */
import { existsSync, globSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { MicroMindError } from "../device/errors.ts";

/** Data is missing or not what it should be. The text names the file, and the line where there is one. */
export class DataError extends MicroMindError {}

const readable = /\.(jsonl|txt)(\.gz)?$/;

/**
 * The files of a path, sorted: a `.jsonl` or `.txt` file (either may be `.gz`), a folder of such (searched through), or a glob.
 * @throws DataError where nothing is there, or none of it can be read
 */
export function resolveFiles(path: string): string[] {
  if (path === "")
    throw new DataError("data: no path is given, expected a .jsonl or .txt file (or .gz of it), a folder or a glob");
  const found = existsSync(path) ? (statSync(path).isDirectory() ? inFolder(path) : [path]) : matching(path);
  const files = found.filter((file) => readable.test(file)).sort();
  if (files.length === 0)
    throw new DataError(
      `${path}: ${found.length ? `${found[0]} is neither .jsonl nor .txt (or .gz of them)` : "holds no .jsonl or .txt files (or .gz of them)"}`,
    );
  for (const file of files) if (statSync(file).size === 0) throw new DataError(`${file}: the file is empty`);
  return files;
}

function inFolder(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true }).map(String);
  return names.filter((name) => readable.test(name)).map((name) => join(folder, name));
}

function matching(pattern: string): string[] {
  const found = /[*?[{]/.test(pattern) ? globSync(pattern) : [];
  if (found.length === 0) throw new DataError(`${pattern}: there is no such file or folder`);
  return found;
}
