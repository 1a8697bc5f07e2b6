/** The frozen model that preferences are measured against: asked batch by batch, or once for all pairs and kept in a file. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { toFloat32 } from "../../framework/checkpoint/host.ts";
import { openSafetensors, writeSafetensors } from "../../framework/checkpoint/safetensors.ts";
import type { PreferenceBatch, Preferences } from "../../framework/data/preferences.ts";
import { type CausalLM, noGrad, scope, Tensor } from "../../framework/index.ts";
import { progressBar } from "../../framework/run/index.ts";
import { BaseError } from "./base.ts";
import type { Replies } from "./preference.ts";

export interface Reference {
  /** Names its weights, by content. */
  readonly weights: string;
  /** Log-probabilities of a batch's replies, outside the graph. */
  of(set: string, batch: PreferenceBatch): Replies;
}

interface ReferenceOptions {
  /** The folder of the model, for errors, and how it is loaded. */
  from: string;
  load: () => Promise<CausalLM>;
  /** Log-probabilities of a batch's replies under a model. */
  score: (model: CausalLM, batch: PreferenceBatch) => Replies;
  /** All pairs that may be asked for, by name. */
  sets: Record<string, Preferences>;
  /** Where the answers are kept; without it the model stays, and is asked each time. */
  file?: string;
  /** What else the answers depend on, such as the precision. */
  settings: unknown;
  /** The weights that the run began with, where it is resumed. */
  began?: string;
}

/**
 * Answers that are kept are found again by their key: weights, pairs and settings, by content.
 * @throws BaseError where a resumed run began with other weights
 */
export async function openReference(options: ReferenceOptions): Promise<Reference> {
  const { from, load, score, file, began } = options;
  const known = began === undefined ? undefined : readAnswers(began, options);
  if (began !== undefined && known) return { weights: began, of: fromTables(known) };
  const model = await load();
  const weights = await weightsOf(model);
  if (began !== undefined && began !== weights) {
    model.dispose();
    throw new BaseError(
      `--from: ${from} is no longer the model that this run began with, against which it measures preferences; bring it back, or start a new run`,
    );
  }
  if (file === undefined) return { weights, of: (_, batch) => noGrad(() => score(model, batch)) };
  const tables = readAnswers(weights, options) ?? (await askAll(model, options));
  model.dispose();
  await keepAnswers(file, keyOf(weights, options), tables);
  return { weights, of: fromTables(tables) };
}

/** The chosen and the rejected reply's log-probability of each pair. */
type Table = Float32Array<ArrayBuffer>;
type Tables = Record<string, Table>;

const keyOf = (weights: string, { sets, settings }: ReferenceOptions): string => {
  const pairs = Object.entries(sets).map(([set, { key }]) => [set, key]);
  return createHash("sha256")
    .update(JSON.stringify([weights, pairs, settings]))
    .digest("hex");
};

async function weightsOf(model: CausalLM): Promise<string> {
  const hash = createHash("sha256");
  for (const [name, p] of model.namedParameters()) hash.update(name).update((await p.data()) as Float32Array);
  return hash.digest("hex");
}

/** What the file holds; undefined where there is none, or its answers are to other questions. */
function readAnswers(weights: string, options: ReferenceOptions): Tables | undefined {
  const { file, sets } = options;
  if (file === undefined || !existsSync(file)) return undefined;
  const stored = openSafetensors(file);
  try {
    if (stored.metadata.key !== keyOf(weights, options)) return undefined;
    return Object.fromEntries(Object.keys(sets).map((set) => [set, toFloat32(stored.get(set)) as Table]));
  } finally {
    stored.close();
  }
}

async function keepAnswers(file: string, key: string, tables: Tables): Promise<void> {
  const tensors = Object.entries(tables).map(
    ([set, data]) => [set, { shape: [data.length / 2, 2], dtype: "F32" as const, data }] as const,
  );
  await writeSafetensors(file, new Map(tensors), { key });
}

async function askAll(model: CausalLM, { score, sets }: ReferenceOptions): Promise<Tables> {
  const all = Object.values(sets).reduce((sum, { pairs }) => sum + pairs, 0);
  const bar = progressBar("asking the reference", all, { unit: "pairs" });
  let done = 0;
  const tables: Tables = {};
  for (const [set, preferences] of Object.entries(sets)) {
    const table = new Float32Array(2 * preferences.pairs);
    for (let n = 0; n < preferences.perEpoch; n++) {
      const batch = preferences.inOrder(n);
      const answers = noGrad(() => scope(() => score(model, batch)));
      const sides = [await answers.chosen.data(), await answers.rejected.data()];
      for (const tensor of Object.values(answers)) tensor.dispose();
      filled(batch).forEach((pair, row) => {
        table[2 * pair] = sides[0][row];
        table[2 * pair + 1] = sides[1][row];
        done++;
      });
      bar.update(done);
    }
    tables[set] = table;
  }
  bar.finish();
  return tables;
}

/** The pairs of a batch, without the empty rows at the end of a pass. */
export const filled = ({ pairs }: PreferenceBatch): Int32Array => pairs.filter((pair) => pair >= 0);

const fromTables =
  (tables: Tables): Reference["of"] =>
  (set, batch) => {
    const pairs = filled(batch);
    const side = (at: 0 | 1) => Tensor.from(Float32Array.from(pairs, (pair) => tables[set][2 * pair + at]));
    return { chosen: side(0), rejected: side(1) };
  };
