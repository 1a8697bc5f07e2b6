/**
 * Writes the corpus that ships with the project, the same bytes every time: `pretrain.jsonl` to train on, and
 * `heldout.jsonl`, which asks the same facts in other words.
 *
 *   bun recipes/corpus/generate.ts             writes both files beside this script
 *   bun recipes/corpus/generate.ts --out dir   writes them to another folder
 *   bun recipes/corpus/generate.ts --check     writes nothing; exit code 1 where the files differ
 */
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { adapterConversations, adapterHeldout } from "./chat/adapters.ts";
import { dpoHeldout, dpoPairs } from "./chat/dpo.ts";
import { reasonConversations, reasonHeldout } from "./chat/reason.ts";
import { sftConversations, sftHeldout } from "./chat/sft.ts";
import { toolConversations, toolHeldout } from "./chat/tools.ts";
import { arithmeticDocuments, dialogueDocuments, factDocuments, openingDocuments } from "./documents.ts";
import { heldout } from "./heldout.ts";
import { randomStream } from "./random.ts";

/** The parts of the training text. */
export const sections = {
  facts: factDocuments,
  arithmetic: arithmeticDocuments,
  dialogues: dialogueDocuments,
  openings: openingDocuments,
} as const satisfies Record<string, () => string[]>;

const jsonl = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");

/** All training documents, each once, in a shuffled order. */
export function pretrainDocuments(): string[] {
  const documents = Object.values(sections).flatMap((write) => write());
  return randomStream("order").shuffle([...new Set(documents)]);
}

/** The files of the corpus: name and text. */
export const corpusFiles = (): Record<string, string> => ({
  "pretrain.jsonl": jsonl(pretrainDocuments().map((text) => ({ text }))),
  "heldout.jsonl": jsonl(heldout()),
  "sft.jsonl": jsonl(sftConversations()),
  "sft.heldout.jsonl": jsonl(sftHeldout()),
  "dpo.jsonl": jsonl(dpoPairs()),
  "dpo.heldout.jsonl": jsonl(dpoHeldout()),
  "identity.jsonl": jsonl(adapterConversations("identity")),
  "identity.heldout.jsonl": jsonl(adapterHeldout("identity")),
  "identity.far.jsonl": jsonl(adapterHeldout("identity", "far")),
  "medical.jsonl": jsonl(adapterConversations("medical")),
  "medical.heldout.jsonl": jsonl(adapterHeldout("medical")),
  "reason.jsonl": jsonl(reasonConversations()),
  "reason.heldout.jsonl": jsonl(reasonHeldout()),
  "tools.jsonl": jsonl(toolConversations()),
  "tools.heldout.jsonl": jsonl(toolHeldout()),
});

/** Writes beside the file and renames, so that a full disk leaves the old file as it was. */
function replaceFile(path: string, text: string): void {
  const temporary = `${path}.tmp`;
  try {
    const file = openSync(temporary, "w");
    try {
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

function main(): void {
  const { values } = parseArgs({
    options: { out: { type: "string", default: import.meta.dirname }, check: { type: "boolean", default: false } },
  });
  for (const [name, text] of Object.entries(corpusFiles())) {
    const path = join(values.out, name);
    const lines = text.split("\n").length - 1;
    if (!values.check) {
      mkdirSync(values.out, { recursive: true });
      replaceFile(path, text);
      console.log(`${path}: ${lines} lines, ${Buffer.byteLength(text)} bytes`);
    } else if (existsSync(path) && readFileSync(path, "utf8") === text) {
      console.log(`${path}: as generated, ${lines} lines`);
    } else {
      console.error(`${path}: not what the generator writes; run bun recipes/corpus/generate.ts to write it again`);
      process.exitCode = 1;
    }
  }
}

if (import.meta.main) {
  try {
    main();
  } catch (error) {
    console.error(`generate: ${error instanceof Error ? error.message : error}`);
    process.exitCode = 1;
  }
}
