import { kernel, type Scalar } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";

export interface CacheAppendShape {
  [name: string]: Scalar | boolean;
  dtype: Scalar;
  /** Whether a token's size is a multiple of four, so that elements move four at a time. */
  wide: boolean;
}

/**
 * Writes the keys and values of new tokens [batch, tokens, size] into caches [batch, capacity, size], a row's behind the `lengths`
 * [batch] tokens that it has. What finds no room is dropped. `size` counts vectors where `wide`.
 */
export const cacheAppend = kernel<CacheAppendShape, ItemTuning>({
  name: "cacheAppend",
  bindings: { k: "read", v: "read", lengths: "read", cacheK: "write", cacheV: "write" },
  types: ({ dtype, wide }) => {
    const type = wide ? `vec4<${dtype}>` : dtype;
    return { k: type, v: type, lengths: "i32", cacheK: type, cacheV: type };
  },
  uniforms: { batch: "u32", tokens: "u32", size: "u32", capacity: "u32" },
  sizes: ["batch", "tokens", "size"],
  ...itemSpace,
  workgroups: (_, tuning, { batch, tokens, size }) => itemWorkgroups(batch * tokens * size, tuning),
  cost: ({ dtype, wide }, { batch, tokens, size }) => ({
    flops: 0,
    bytes: 4 * batch * tokens * size * (wide ? 4 : 1) * (dtype === "f16" ? 2 : 4),
  }),
  wgsl: (_, tuning) =>
    eachItem(
      tuning,
      "size",
      `
      let row = i / u.size / u.tokens;
      if (row >= u.batch) { return; }
      let place = u32(lengths[row]) + i / u.size % u.tokens;
      if (place >= u.capacity) { return; }
      let to = (row * u.capacity + place) * u.size + i % u.size;
      cacheK[to] = k[i];
      cacheV[to] = v[i];`,
    ),
});
