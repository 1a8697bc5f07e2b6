import { ShapeError } from "../device/errors.ts";
import type { AttentionCache } from "../nn/attention.ts";
import { scaledDotProductAttention } from "../ops/attention.ts";
import { appendToCache, type CacheLayer, decodeAttention } from "../ops/decode.ts";
import type { DecodingLayer } from "../ops/decodeLayer.ts";
import { fill } from "../ops/elementwise.ts";
import { meetingPlace } from "../ops/meet.ts";
import type { HeadsPlace } from "../ops/selfAttention.ts";
import type { DType } from "../tensor/dtype.ts";
import { unscoped } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { ModelConfig } from "./config.ts";

export interface CacheSizes {
  batch: number;
  capacity: number;
  dtype: DType;
  /** cos and sin of the positions up to `capacity`; the cache's own from here on. */
  table: Tensor;
}

/**
 * Keys and values of the tokens so far, for all layers, in buffers of a fixed capacity: memory does not grow with the text.
 * Rows hold equally many tokens, which the host counts, until `setLengths`: from there each row counts its own on the device,
 * takes a token at a time, and no launch depends on the counts.
 */
export class KVCache implements AttentionCache {
  /** Tokens that all rows hold, while they hold equally many. */
  length = 0;
  /** Workgroups of a layer for one token of one stream, in one launch (`decodeLayer`); 0: in several launches. */
  groups = 0;
  readonly batch: number;
  readonly capacity: number;
  readonly dtype: DType;
  readonly table: Tensor;
  /** i32 [B]: tokens that each row holds. */
  readonly lengths: Tensor;
  private readonly layers: CacheLayer[];
  private readonly met: Tensor;
  private ragged = false;

  /** @param config the model's own, by which it knows its caches */
  constructor(
    readonly config: ModelConfig,
    { batch, capacity, dtype, table }: CacheSizes,
  ) {
    this.batch = batch;
    this.capacity = capacity;
    this.dtype = dtype;
    this.table = table;
    const empty = (name: string) =>
      unscoped(() => Tensor.empty([batch, capacity, config.num_key_value_heads, config.head_dim], dtype, name));
    this.lengths = unscoped(() => fill(Tensor.empty([batch], "i32", "cache.lengths"), 0));
    this.met = unscoped(meetingPlace);
    this.layers = Array.from({ length: config.num_hidden_layers }, () => ({
      k: empty("cache.k"),
      v: empty("cache.v"),
      lengths: this.lengths,
    }));
  }

  get positions(): Tensor | undefined {
    return this.ragged ? this.lengths.alias([this.batch, 1]) : undefined;
  }

  place(layer: number, count: number): HeadsPlace {
    this.expectRoom(count);
    return { ...this.layers[layer], start: this.length, byPosition: this.ragged };
  }

  decoding(layer: number, count: number): DecodingLayer | undefined {
    this.expectRoom(count);
    return this.ragged ? { ...this.layers[layer], met: this.met, groups: this.groups } : undefined;
  }

  append(layer: number, k: Tensor, v: Tensor): void {
    this.expectRoom(k.shape[1]);
    appendToCache(k, v, this.layers[layer]);
  }

  attend(layer: number, q: Tensor): Tensor {
    const own = this.layers[layer];
    if (this.ragged) return decodeAttention(q, own);
    const keys = this.length + q.shape[1];
    return scaledDotProductAttention(q, own.k, own.v, { causal: true, layout: "BTHD", keys });
  }

  /** Whether workgroups of a layer's launch waited for each other in vain: what came of it is NaN, and so is all that comes. */
  async missed(): Promise<boolean> {
    return (await this.met.data())[2] > 0;
  }

  /** Counts tokens that all layers have taken. Rows of different lengths are counted by who picks their tokens. */
  advance(tokens: number): void {
    if (this.ragged) return;
    this.length += tokens;
    fill(this.lengths, this.length);
  }

  /** Says how many tokens each row holds: what lies behind is overwritten, and not seen until then. */
  setLengths(lengths: readonly number[]): void {
    this.lengths.write(lengths);
    this.ragged = true;
  }

  /**
   * Keeps the first tokens of every row; what lies behind is overwritten. Rows hold equally many again, so that any number may follow.
   * @param length at most as many as each row holds, which only the caller knows once rows count their own
   * @throws RangeError
   */
  truncate(length: number): void {
    const most = this.ragged ? this.capacity : this.length;
    if (!(Number.isInteger(length) && length >= 0 && length <= most))
      throw new RangeError(`KVCache: cannot keep ${length} tokens of ${this.ragged ? "at most " : ""}${most}`);
    this.length = length;
    this.ragged = false;
    fill(this.lengths, length);
  }

  /** @throws ShapeError where so many tokens more do not fit */
  private expectRoom(tokens: number): void {
    if (this.ragged && tokens !== 1)
      throw new ShapeError(`KVCache: ${tokens} tokens a row, expected one where rows are of different lengths`);
    if (!this.ragged && this.length + tokens > this.capacity)
      throw new ShapeError(`KVCache: ${this.length} + ${tokens} tokens are more than its capacity of ${this.capacity}`);
  }

  dispose(): void {
    this.lengths.dispose();
    this.met.dispose();
    this.table.dispose();
    for (const { k, v } of this.layers) {
      k.dispose();
      v.dispose();
    }
  }
}
