/** Batches: made for a step (so that a resumed run has the right one), or in order from the step after the resumed one. */
export type Batches<B> = ((step: number) => B | Promise<B>) | Iterable<B> | AsyncIterable<B>;

/** Batches of either kind, one at a time. */
export class Source<B> {
  readonly #make: ((step: number) => B | Promise<B>) | undefined;
  readonly #iterator: Iterator<B> | AsyncIterator<B> | undefined;

  constructor(batches: Batches<B>) {
    if (typeof batches === "function") this.#make = batches;
    else
      this.#iterator = Symbol.asyncIterator in batches ? batches[Symbol.asyncIterator]() : batches[Symbol.iterator]();
  }

  /** @throws Error where there is none for this step */
  async next(step: number): Promise<B> {
    if (this.#make) return this.#make(step);
    const result = await this.#iterator!.next();
    if (result.done) throw new Error(`run.steps: the batches end before step ${step}`);
    return result.value;
  }

  /** Lets an iterator give back what it holds. */
  async close(): Promise<void> {
    await this.#iterator?.return?.();
  }
}
