import { ShapeError } from "../device/errors.ts";
import { copyStrided } from "../ops/elementwise.ts";
import type { DType } from "../tensor/dtype.ts";
import { unscoped } from "../tensor/scope.ts";
import { contiguous } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { ModelConfig } from "./config.ts";

/** Keys and values of the tokens so far, for all layers, in buffers of a fixed capacity: memory does not grow with the text. */
export class KVCache {
  length = 0;
  private readonly layers: { k: Tensor; v: Tensor }[];

  constructor(
    config: ModelConfig,
    readonly batch: number,
    readonly capacity: number,
    dtype: DType = "f32",
  ) {
    const shape = [batch, capacity, config.num_key_value_heads, config.head_dim];
    this.layers = Array.from({ length: config.num_hidden_layers }, () =>
      unscoped(() => ({ k: Tensor.empty(shape, dtype, "cache.k"), v: Tensor.empty(shape, dtype, "cache.v") })),
    );
  }

  /** A layer's buffers, and the row at which those of `count` new tokens go. @throws ShapeError where there is no room */
  place(layer: number, count: number): { k: Tensor; v: Tensor; start: number } {
    if (this.length + count > this.capacity) {
      throw new ShapeError(`KVCache: ${this.length} + ${count} tokens are more than its capacity of ${this.capacity}`);
    }
    return { ...this.layers[layer], start: this.length };
  }

  /** Writes k and v [B, T, Hkv, D] of one layer behind what is there, and gives the layer's buffers. */
  append(layer: number, k: Tensor, v: Tensor): { k: Tensor; v: Tensor } {
    const own = this.place(layer, k.shape[1]);
    for (const [from, to] of [
      [k, own.k],
      [v, own.v],
    ]) {
      const strides = contiguous(to.shape);
      copyStrided(
        from,
        { strides: contiguous(from.shape) },
        to,
        { strides, start: own.start * strides[1] },
        from.shape,
      );
    }
    return own;
  }

  dispose(): void {
    for (const { k, v } of this.layers) {
      k.dispose();
      v.dispose();
    }
  }
}
