/** What a run needs to go on as if it had never stopped: tensors and a few facts, a folder for each step that was saved. */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { FileError, replaceFolderAtomic, writeFileAtomic } from "../checkpoint/file.ts";
import { openSafetensors, type TensorsToWrite, writeSafetensors } from "../checkpoint/safetensors.ts";
import { type Checkpoint, readJsonObject } from "../checkpoint/source.ts";
import { removeStale } from "../checkpoint/temporary.ts";

export interface StateToSave {
  /** Weights, moments and what else is large. A tensor's data may be a function, called when its turn comes. */
  tensors: TensorsToWrite;
  /** What is small, as JSON: data position, random state, the optimizer's step, the loss scale. */
  meta: unknown;
}

/** `Meta` is what the caller saved; the checksum shows that it is the same text, not that it is of this type. */
export interface SavedState<Meta = unknown> {
  folder: string;
  /** The steps that were done when it was saved. */
  step: number;
  /** Read when asked for. */
  tensors: Checkpoint;
  meta: Meta;
}

const tensorsFile = "tensors.safetensors";
const stateFile = "state.json";
const kept = 2;
const folderOf = (dir: string, step: number) => join(dir, `step-${String(step).padStart(6, "0")}`);

/**
 * Saves `dir/step-000123/`, whole or not at all, and removes all but the last two. What was saved before stays until then, so
 * that for a moment the disk holds three.
 * @returns the folder
 * @throws FileError where it cannot be saved, as on a full disk; the states of before are untouched
 */
export async function saveState(dir: string, step: number, { tensors, meta }: StateToSave): Promise<string> {
  const folder = folderOf(dir, step);
  await replaceFolderAtomic(folder, async (fresh) => {
    const file = join(fresh, tensorsFile);
    await writeSafetensors(file, tensors);
    const facts = {
      bytes: statSync(file).size,
      sha256: await sha256(file),
      metaSha256: sha256OfText(JSON.stringify(meta)),
    };
    writeFileAtomic(join(fresh, stateFile), `${JSON.stringify({ step, ...facts, meta })}\n`);
  });
  removeStale(dir);
  // States beyond this step were damaged, or the run would not have been here again.
  const others = stepsIn(dir).filter((other) => other !== step);
  const previous = others.filter((other) => other < step && damage(dir, other) === undefined).slice(0, kept - 1);
  for (const other of others)
    if (!previous.includes(other)) rmSync(folderOf(dir, other), { recursive: true, force: true });
  return folder;
}

/**
 * The newest state that is whole; undefined where there is none. Damaged ones (cut short, changed, a file missing) are passed over.
 * @param warn told of each state that was passed over, and why
 */
export async function latestState<Meta = unknown>(
  dir: string,
  warn: (text: string) => void = () => {},
): Promise<SavedState<Meta> | undefined> {
  for (const step of stepsIn(dir)) {
    const folder = folderOf(dir, step);
    try {
      const reason = damage(dir, step);
      if (reason !== undefined) throw new FileError(folder, reason);
      const facts = readJsonObject(join(folder, stateFile)) as unknown as Facts;
      const file = join(folder, tensorsFile);
      if ((await sha256(file)) !== facts.sha256) throw new FileError(file, "is damaged: its checksum has changed");
      if (sha256OfText(JSON.stringify(facts.meta)) !== facts.metaSha256)
        throw new FileError(join(folder, stateFile), "is damaged: its checksum has changed");
      return { folder, step, tensors: openSafetensors(file), meta: facts.meta as Meta };
    } catch (error) {
      if (!(error instanceof FileError)) throw error;
      warn(`${error.message}; passing over this state`);
    }
  }
  return undefined;
}

interface Facts {
  step: number;
  bytes: number;
  sha256: string;
  metaSha256: string;
  meta: unknown;
}

/** What can be seen to be wrong with a state without reading its tensors. */
function damage(dir: string, step: number): string | undefined {
  const folder = folderOf(dir, step);
  let facts: Partial<Facts>;
  try {
    facts = readJsonObject(join(folder, stateFile));
  } catch (error) {
    return (error as Error).message.replace(`${folder}/`, "");
  }
  const status = statSync(join(folder, tensorsFile), { throwIfNoEntry: false });
  if (!status) return `${tensorsFile} is missing`;
  if (status.size !== facts.bytes) return `${tensorsFile} has ${status.size} bytes, expected ${facts.bytes}`;
  return facts.step === step ? undefined : `${stateFile} is of step ${facts.step}`;
}

/** Newest first. */
function stepsIn(dir: string): number[] {
  if (!existsSync(dir)) return [];
  const names = readdirSync(dir).flatMap((name) => /^step-(\d{6,})$/.exec(name)?.[1] ?? []);
  return names.map(Number).sort((a, b) => b - a);
}

const sha256OfText = (text: string) => createHash("sha256").update(text).digest("hex");

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) hash.update(chunk as Uint8Array);
  return hash.digest("hex");
}
