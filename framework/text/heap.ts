import { grown } from "./tables.ts";

/** A binary heap of integers; the one that comes `before` all others is on top. */
export class Heap {
  size = 0;
  #items: Int32Array;
  readonly #before: (a: number, b: number) => boolean;

  constructor(before: (a: number, b: number) => boolean, capacity = 256) {
    this.#before = before;
    this.#items = new Int32Array(capacity);
  }

  push(item: number): void {
    if (this.size === this.#items.length) this.#items = grown(this.#items);
    const items = this.#items;
    let i = this.size++;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(item, items[parent]!)) break;
      items[i] = items[parent]!;
      i = parent;
    }
    items[i] = item;
  }

  /** Takes the top off; the heap must not be empty. */
  pop(): number {
    const top = this.#items[0]!;
    this.size--;
    if (this.size > 0) this.#sink(this.#items[this.size]!);
    return top;
  }

  /** The top, left where it is; undefined where the heap is empty. */
  peek(): number | undefined {
    return this.size === 0 ? undefined : this.#items[0];
  }

  /** Puts the top where it belongs after its order has fallen. */
  resettle(): void {
    this.#sink(this.#items[0]!);
  }

  #sink(item: number): void {
    const items = this.#items;
    let i = 0;
    for (let child = 1; child < this.size; child = 2 * i + 1) {
      if (child + 1 < this.size && this.#before(items[child + 1]!, items[child]!)) child++;
      if (!this.#before(items[child]!, item)) break;
      items[i] = items[child]!;
      i = child;
    }
    items[i] = item;
  }
}
