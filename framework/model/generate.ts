import { MicroMindError } from "../device/errors.ts";
import { layerGroups } from "../ops/decodeLayer.ts";
import { findMeeting } from "../ops/meet.ts";
import { NO_TOKEN, type SampleOptions } from "../ops/sample.ts";
import type { KVCache } from "./cache.ts";
import type { CausalLM } from "./causalLM.ts";
import { Decoding } from "./decoding.ts";
import { type Block, paceOf } from "./pace.ts";

export interface GenerateOptions extends SampleOptions {
  /** Tokens to make at most (default 128). */
  maxNewTokens?: number;
  /** A row ends when one of these ids comes; it is not given out. */
  stop?: readonly number[];
  /** Tokens of each prompt that go through the model together: bounds the activations' memory (default 512). */
  prefillChunk?: number;
  /**
   * Holds the first `cache.length` tokens of the prompts already: only the rest goes through the model. It stays the caller's, who
   * says with `cache.truncate` how much of it serves the next prompt.
   */
  cache?: KVCache;
  /** Tokens of a row from one read to the next. By default 1, 2, 4, … 16: the first come at once, later ones cheaply. */
  readEvery?: number;
}

export interface GeneratedToken {
  /** The prompt's number. */
  row: number;
  token: number;
}

const MOST_AHEAD = 16; // tokens of a row between reads, where the caller does not say

/** Continues a prompt; see {@link generateBatch}, of which it is the case of one row. */
export async function* generate(
  model: CausalLM,
  prompt: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<number> {
  for await (const { token } of generateBatch(model, [prompt], options)) yield token;
}

/**
 * Continues prompts of any lengths together over one KV cache. Tokens are picked on the device, which works on the next ones while
 * some are read and given out. A row that has ended is computed on until all have, and what comes of it is dropped. What a row
 * gets is a function of its prompt, the seed and its number: neither the other rows nor how often is read have a part in it, but
 * for the rounding of logits where an adapter's products of another batch size sum in another order.
 * @throws MicroMindError where a prompt is empty, outside the vocabulary or fills the model's positions, or logits are not finite
 * @throws RangeError where an option is out of range
 */
export async function* generateBatch(
  model: CausalLM,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken> {
  const { maxNewTokens = 128, stop = [], prefillChunk = 512, readEvery, cache } = options;
  check(model, prompts, { prefillChunk, readEvery: readEvery ?? 1, maxNewTokens }, cache);
  const most = cache?.capacity ?? model.config.max_position_embeddings;
  const left = prompts.map((prompt) => Math.min(maxNewTokens, most - prompt.length + 1));
  const steps = Math.max(0, ...left);
  if (steps === 0) return;
  const whole = prompts.length === 1 && model.model.layers.some((layer) => layer.whole);
  if (whole) await findMeeting();
  const decoding = new Decoding(model, prompts, steps, options);
  const reads: Promise<Int32Array>[] = [];
  const groups = whole ? layerGroups() : [0];
  const pace = groups.length > 1 ? paceOf(model, groups) : undefined;
  const read = (block?: Block) => {
    const tokens = decoding.read();
    const done = () => pace?.finish(block);
    tokens.then(done, done); // whoever takes the tokens may be busy when it fails; the wait below throws
    reads.push(tokens);
  };
  try {
    decoding.prefill(prefillChunk);
    read();
    for (let size = readEvery ?? 1; reads.length > 0; size = readEvery ?? Math.min(2 * size, MOST_AHEAD)) {
      const most = Math.min(size, steps - decoding.made);
      if (most > 0) {
        const block = pace?.begin(most, (way) => decoding.knows(groups[way]));
        const { way, tokens } = block ?? { way: 0, tokens: most };
        for (let i = 0; i < tokens; i++) decoding.step(groups[way]);
        read(block); // the device goes on while the read before is waited for
      }
      const tokens = await reads[0];
      reads.shift();
      for (const [i, token] of tokens.entries()) {
        const row = i % prompts.length;
        if (left[row] === 0) continue;
        if (token === NO_TOKEN) throw await decoding.whyNone(row);
        left[row] = stop.includes(token) ? 0 : left[row] - 1;
        if (!stop.includes(token)) yield { row, token };
      }
      if (left.every((n) => n === 0)) return;
    }
  } finally {
    await Promise.allSettled(reads);
    decoding.dispose();
  }
}

function check(
  { config }: CausalLM,
  prompts: readonly (readonly number[])[],
  counts: Record<"prefillChunk" | "readEvery" | "maxNewTokens", number>,
  cache: KVCache | undefined,
): void {
  const { max_position_embeddings, vocab_size: vocabulary } = config;
  const most = cache?.capacity ?? max_position_embeddings;
  for (const [name, value] of Object.entries(counts)) {
    const least = name === "maxNewTokens" ? 0 : 1;
    if (!(Number.isInteger(value) && value >= least))
      throw new RangeError(`generate: ${name} is ${value}, expected a whole number, ${least} or more`);
  }
  if (cache && cache.batch !== prompts.length)
    throw new MicroMindError(
      `generate: the cache has ${cache.batch} rows, expected one for each of ${prompts.length} prompts`,
    );
  prompts.forEach((prompt, row) => {
    const which = prompts.length === 1 ? "the prompt" : `prompt ${row}`;
    if (prompt.length === 0) throw new MicroMindError(`generate: ${which} is empty, expected one token at least`);
    if (prompt.length >= most)
      throw new MicroMindError(
        `generate: ${which}'s ${prompt.length} tokens fill all ${most} positions of the ${cache ? "cache" : "model"}; shorten it`,
      );
    if (cache && cache.length >= prompt.length)
      throw new MicroMindError(
        `generate: the cache holds ${cache.length} tokens, expected fewer than ${which}'s ${prompt.length}; truncate it`,
      );
    const wrong = prompt.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabulary));
    if (wrong >= 0)
      throw new MicroMindError(
        `generate: ${which} holds ${prompt[wrong]} (position ${wrong}), outside the vocabulary of ${vocabulary}`,
      );
  });
}
