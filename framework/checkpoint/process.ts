/** Names for processes that tell, from another process and later, whether their owner still lives. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { hostname } from "node:os";

const machine = createHash("sha256").update(hostname()).digest("hex").slice(0, 8);

/** When a process began, in clock ticks since boot: a number used anew is another process. 0 where /proc does not say. */
function startOf(pid: number): string {
  try {
    // Field 22, counted after the command's closing parenthesis, since the command may hold spaces.
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
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
