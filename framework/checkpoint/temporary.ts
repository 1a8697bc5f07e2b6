/** Temporary names that say which process they belong to, so that what killed processes left can be told and removed. */
import { createHash, randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";

const machine = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);

/** When a process began, in clock ticks since boot: a number used anew is another process. 0 where /proc does not say. */
function startOf(pid: number): string {
  try {
    // Field 22, counted after the command's closing parenthesis, since the command may hold spaces.
    const text = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ")[19] ?? "0";
  } catch {
    return "0";
  }
}

let own: string | undefined;

/** `<machine>-<pid>-<start>` of this process. */
export function processTag(): string {
  own ??= `${machine}-${process.pid}-${startOf(process.pid)}`;
  return own;
}

/** Whether the process of a tag lives; `elsewhere` is another machine or container. */
export function liveness(tag: string): "alive" | "dead" | "elsewhere" {
  const [host, pid, start] = tag.split("-");
  if (host !== machine) return "elsewhere";
  const now = startOf(Number(pid));
  if (start !== "0" && now !== "0") return now === start ? "alive" : "dead";
  try {
    process.kill(Number(pid), 0);
    return "alive";
  } catch (error) {
    return (error as { code?: string }).code === "ESRCH" ? "dead" : "alive";
  }
}

/** A name such as `.model.safetensors.tmp-<process>-<random>`; `old` is a folder on its way out. */
const temporaryName = /^\.(.+)\.(tmp|old)-([0-9a-f]+-\d+-\d+)-[0-9a-f]{8}$/;

/** Beside the target, hidden, and saying whose it is. */
export const temporaryPath = (path: string, kind: "tmp" | "old", random: string): string =>
  join(dirname(path), `.${basename(path)}.${kind}-${processTag()}-${random}`);
export const randomSuffix = (): string => randomBytes(4).toString("hex");

/**
 * Removes the temporary files and folders that dead processes left in a folder, and gives a folder whose replacement was
 * cut off its name back. Another machine's are removed when a day old: its processes cannot be seen from here.
 * @param target only those of this file or folder name
 * @returns the names removed or restored
 */
export function removeStale(folder: string, target?: string): string[] {
  const done: string[] = [];
  for (const name of fs.readdirSync(folder)) {
    const [, base, kind, tag] = temporaryName.exec(name) ?? [];
    if (base === undefined || (target !== undefined && base !== target)) continue;
    const path = join(folder, name);
    if (!isStale(path, tag!)) continue;
    try {
      if (kind === "old" && !fs.existsSync(join(folder, base))) fs.renameSync(path, join(folder, base));
      else fs.rmSync(path, { recursive: true, force: true });
      done.push(name);
    } catch {
      // Another user's leftovers in a shared folder must not keep us from saving beside them.
    }
  }
  return done;
}

const day = 24 * 60 * 60 * 1000;

function isStale(path: string, tag: string): boolean {
  const state = liveness(tag);
  if (state !== "elsewhere") return state === "dead";
  const status = fs.lstatSync(path, { throwIfNoEntry: false });
  return status !== undefined && Date.now() - status.mtimeMs > day;
}
