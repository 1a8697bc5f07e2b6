/** The model that a stage starts from. */
import { createHash } from "node:crypto";
import { existsSync, realpathSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { openCheckpoint } from "../../framework/checkpoint/load.ts";
import { FileSource } from "../../framework/checkpoint/source.ts";
import {
  type CausalLM,
  loadModel,
  loadTokenizer,
  MicroMindError,
  type optim,
  type Tokenizer,
} from "../../framework/index.ts";
import { ConfigError } from "../../framework/run/index.ts";

/** What a stage starts from is missing, or its parts do not fit each other. */
export class BaseError extends MicroMindError {}

export interface Base {
  model: CausalLM;
  tokenizer: Tokenizer;
}

/** The recipes that write `out/<name>` where nothing else is said. */
const recipes = ["pretrain", "sft", "dpo", "distill", "reason", "lora"];

/**
 * Model and tokenizer of a run folder or a Hugging Face folder.
 * @param flag   the flag that names the folder, for errors
 * @param seqLen tokens of the rows that it is to be trained on
 * @param precision that it is to answer in; one that is to be trained gets its own from its optimizer
 * @throws BaseError where there is no model, and how to make one; where the tokenizer has more ids than the model, or no chat template, or
 *   the model fewer positions than a row
 */
export async function openBase(
  folder: string,
  {
    flag = "--from",
    chat = true,
    seqLen = 0,
    precision = "f32",
  }: { flag?: string; chat?: boolean; seqLen?: number; precision?: optim.Precision } = {},
): Promise<Base> {
  if (!existsSync(folder)) {
    const recipe = recipes.find((name) => name === basename(folder));
    const make = recipe ? `make it with: bun recipes/${recipe}.ts` : "name a run's folder, or a Hugging Face folder";
    throw new BaseError(`${flag}: there is no ${folder}; ${make}`);
  }
  if (!statSync(folder).isDirectory())
    throw new BaseError(
      `${flag}: ${folder} is a file, expected a folder with model and tokenizer; make it one: bun recipes/convert.ts --from ${folder} --to hf --tokenizer folder`,
    );
  if (existsSync(join(folder, "adapter_config.json")))
    throw new BaseError(`${flag}: ${folder} holds an adapter, not a model; name its base, or merge it first`);
  if (!existsSync(join(folder, "tokenizer.json")))
    throw new BaseError(
      `${flag}: ${folder} has no tokenizer.json; a stage needs the tokenizer that the model was trained with`,
    );
  const tokenizer = loadTokenizer(folder);
  const model = await loadModel(folder);
  const { vocab_size, max_position_embeddings: positions } = model.config;
  const fault =
    tokenizer.vocabSize > vocab_size
      ? `its tokenizer has ${tokenizer.vocabSize} tokens, its model ${vocab_size}`
      : chat && tokenizer.chatTemplate === undefined
        ? "its tokenizer has no chat template (chat_template in tokenizer_config.json)"
        : chat && tokenizer.eosTokenId === undefined
          ? "its tokenizer names no eos_token, with which replies end"
          : seqLen > positions
            ? `its model has ${positions} positions (max_position_embeddings), too few for rows of ${seqLen} tokens; lower --data.seqLen`
            : undefined;
  if (fault === undefined) return { model: precision === "f16" ? model.half() : model, tokenizer };
  model.dispose();
  throw new BaseError(`${flag}: ${folder}: ${fault}`);
}

/**
 * The folder whose model a stage begins with: its own where it goes on, unless it was killed between its first state, which has
 * all weights, and its first model.
 */
export const startOf = ({ dir, resumed }: { dir: string; resumed?: unknown }, from: string): string =>
  resumed && existsSync(join(dir, "config.json")) ? dir : from;

/**
 * Before the run's folder is taken: what a stage starts from must outlive it.
 * @throws ConfigError where the run would write into the folder of its own base
 */
export function keepBase({ run, from, teacher = "" }: { run: { dir: string }; from: string; teacher?: string }): void {
  const real = (folder: string) => (existsSync(folder) ? realpathSync(folder) : resolve(folder));
  for (const [flag, folder] of Object.entries({ from, teacher }))
    if (folder !== "" && real(folder) === real(run.dir))
      throw new ConfigError(
        `--run.dir: ${run.dir} is the folder that --${flag} names, which the run would overwrite; choose another: --run.dir out/name`,
      );
}

/** @throws BaseError where two models do not read the same ids as the same text */
export function expectSameTokenizer(
  a: { tokenizer: Tokenizer; name: string },
  b: { tokenizer: Tokenizer; name: string },
): void {
  if (a.tokenizer.hash() !== b.tokenizer.hash())
    throw new BaseError(
      `${a.name} and ${b.name} have different tokenizers (${a.tokenizer.vocabSize} and ${b.tokenizer.vocabSize} tokens); both must have been trained with one`,
    );
}

/** SHA-256 of a model's weights: what a resumed stage knows its frozen base by. */
export function fingerprint(folder: string): string {
  const hash = createHash("sha256");
  for (const file of openCheckpoint(folder).files) {
    const source = new FileSource(file);
    for (const piece of source.pieces(0, source.size)) hash.update(piece);
  }
  return hash.digest("hex");
}
