import { noGrad } from "../autograd/graph.ts";
import { DeviceError, MicroMindError } from "../device/errors.ts";
import type { Program } from "../device/program.ts";
import { indexSelect } from "../ops/gather.ts";
import { setMeeting } from "../ops/meet.ts";
import { Sampler } from "../ops/sample.ts";
import { concat } from "../ops/shape.ts";
import { gpu } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { KVCache } from "./cache.ts";
import type { CausalLM } from "./causalLM.ts";
import type { GenerateOptions } from "./generate.ts";

/** Rows being decoded: their cache, their sampler, and the launches that make a token of each. */
export class Decoding {
  /** Tokens of a row that were made or are under way, and that were read. */
  made = 0;
  private given = 0;
  private readonly cache: KVCache;
  private readonly sampler: Sampler;
  /** The launches of a step, by the workgroups of a layer; null where it ran once. */
  private readonly programs = new Map<number, Program | null>();

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
   * @param groups of a layer, one of `layerGroups`
   */
  step(groups: number): void {
    const { model, cache, sampler, prompts, programs } = this;
    const work = () =>
      noGrad(() =>
        scope(() => {
          const h = model.hidden(sampler.token, { cache });
          sampler.sample(model.logits(h.reshape(prompts.length, -1)), cache.lengths);
        }),
      );
    cache.groups = groups;
    const program = programs.get(groups);
    if (program) gpu().replay(program);
    else if (program === null) programs.set(groups, gpu().capture(work));
    else {
      work();
      programs.set(groups, null);
    }
    this.made++;
  }

  /** Whether a step of so many workgroups a layer ran before. */
  knows(groups: number): boolean {
    return this.programs.has(groups);
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
      `generate: ${gpu().name} no longer runs the workgroups of decodeLayer side by side. Try again: from now on none waits for another`,
    );
  }

  dispose(): void {
    for (const program of this.programs.values()) if (program) gpu().releaseProgram(program);
    if (!this.options.cache) this.cache.dispose();
    this.sampler.dispose();
  }
}
