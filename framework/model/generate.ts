import { noGrad } from "../autograd/graph.ts";
import { DeviceError, MicroMindError } from "../device/errors.ts";
import type { Program } from "../device/program.ts";
import { indexSelect } from "../ops/gather.ts";
import { findMeeting, setMeeting } from "../ops/meet.ts";
import { NO_TOKEN, type SampleOptions, Sampler } from "../ops/sample.ts";
import { concat } from "../ops/shape.ts";
import { gpu } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { KVCache } from "./cache.ts";
import type { CausalLM } from "./causalLM.ts";

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
  if (prompts.length === 1) await findMeeting(); // of use to a single stream alone
  const decoding = new Decoding(model, prompts, steps, options);
  const reads: Promise<Int32Array>[] = [];
  const read = () => {
    const tokens = decoding.read();
    tokens.catch(() => {}); // whoever takes the tokens may be busy when it fails; the wait below throws
    reads.push(tokens);
  };
  try {
    decoding.prefill(prefillChunk);
    read();
    for (let size = readEvery ?? 1; reads.length > 0; size = readEvery ?? Math.min(2 * size, MOST_AHEAD)) {
      const ahead = Math.min(size, steps - decoding.made);
      for (let i = 0; i < ahead; i++) decoding.step();
      if (ahead > 0) read(); // the device goes on while the read before is waited for
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

/** Rows being decoded: their cache, their sampler, and the launches that make a token of each. */
class Decoding {
  /** Tokens of a row that were made or are under way, and that were read. */
  made = 0;
  private given = 0;
  private readonly cache: KVCache;
  private readonly sampler: Sampler;
  private program: Program | undefined;

  constructor(
    private readonly model: CausalLM,
    private readonly prompts: readonly (readonly number[])[],
    steps: number,
    private readonly options: GenerateOptions,
  ) {
    this.sampler = new Sampler(prompts, model.config.vocab_size, steps, options);
    this.cache = options.cache ?? model.newCache(prompts.length, Math.max(...prompts.map((p) => p.length)) + steps);
  }

  /** Fills the cache with what it lacks of the prompts, `chunk` tokens of each at a time, and picks each row's first token. */
  prefill(chunk: number): void {
    const { model, prompts, cache, sampler } = this;
    const longest = Math.max(...prompts.map((p) => p.length));
    noGrad(() =>
      scope(() => {
        const ends: { rows: number[]; h: Tensor }[] = [];
        for (let at = cache.length; at < longest; at += chunk) ends.push(this.chunk(at, Math.min(chunk, longest - at)));
        const rows = ends.flatMap((end) => end.rows);
        const order = Int32Array.from(prompts, (_, row) => rows.indexOf(row));
        const last = indexSelect(
          concat(
            ends.flatMap(({ rows, h }) => (rows.length ? [h] : [])),
            0,
          ),
          0,
          Tensor.from(order),
        );
        cache.setLengths(prompts.map((p) => p.length - 1)); // picking a token counts it in
        sampler.sample(model.logits(last), cache.lengths);
      }),
    );
    this.made++;
  }

  /**
   * Tokens [at, at + width) of all prompts, and the hidden states of the rows that end there: [rows, hidden]. Short rows are filled up:
   * what their filling leaves in the cache stands behind their end, where nothing looks before it is overwritten.
   */
  private chunk(at: number, width: number): { rows: number[]; h: Tensor } {
    const { model, prompts, cache } = this;
    const ids = new Int32Array(prompts.length * width);
    const rows: number[] = [];
    const places: number[] = [];
    prompts.forEach((prompt, row) => {
      ids.set(prompt.slice(at, at + width), row * width);
      const last = prompt.length - 1 - at;
      if (last < 0 || last >= width) return;
      rows.push(row);
      places.push(row * width + last);
    });
    const h = scope(() => {
      const all = model.hidden(Tensor.from(ids, { shape: [prompts.length, width] }), { cache });
      return indexSelect(all.reshape(-1, model.config.hidden_size), 0, Tensor.from(Int32Array.from(places)));
    });
    return { rows, h };
  }

  /**
   * One token more of every row. What is launched does not depend on how many there are, so the launches of the second time (the
   * first may still compile and tune) serve from there on.
   */
  step(): void {
    const { model, cache, sampler, prompts } = this;
    const work = () =>
      noGrad(() =>
        scope(() => {
          const h = model.hidden(sampler.token, { cache });
          sampler.sample(model.logits(h.reshape(prompts.length, -1)), cache.lengths);
        }),
      );
    if (this.program) gpu().replay(this.program);
    else if (this.made > 1) this.program = gpu().capture(work);
    else work();
    this.made++;
  }

  /** The tokens made since the last read, step by step, all rows of a step together. Starts the device. */
  async read(): Promise<Int32Array> {
    const { block, offset } = this.sampler.out.view();
    const bytes = 4 * this.prompts.length;
    const from = { block, offset: offset + this.given * bytes, bytes: (this.made - this.given) * bytes };
    this.given = this.made;
    return new Int32Array(await gpu().read(from));
  }

  /** What is wrong where no token could be picked. */
  async whyNone(row: number): Promise<MicroMindError> {
    if (!(await this.cache.missed()))
      return new MicroMindError(
        `generate: the logits of row ${row} are NaN, Infinity, or all -Infinity; the weights are broken or their sums overflow`,
      );
    setMeeting(0);
    return new DeviceError(
      `generate: ${gpu().name} no longer runs the workgroups of decodeLayer side by side. Try again: layers are launched in parts from now on`,
    );
  }

  dispose(): void {
    if (this.program) gpu().releaseProgram(this.program);
    if (!this.options.cache) this.cache.dispose();
    this.sampler.dispose();
  }
}
