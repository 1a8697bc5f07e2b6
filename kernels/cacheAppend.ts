import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

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
export const cacheAppend = kernel({
  name: "cacheAppend",
  bindings: { k: "read", v: "read", lengths: "read", cacheK: "write", cacheV: "write" },
  types: ({ dtype, wide }: CacheAppendShape) => {
    const type = wide ? `vec4<${dtype}>` : dtype;
    return { k: type, v: type, lengths: "i32", cacheK: type, cacheV: type };
  },
  uniforms: { batch: "u32", tokens: "u32", size: "u32", capacity: "u32" },
  workgroups: (_, __, { batch, tokens, size }) =>
    batch * tokens * size === 0 ? [0] : linearWorkgroups(Math.ceil((batch * tokens * size) / 64)),
  cost: ({ dtype, wide }, { batch, tokens, size }) => ({
    flops: 0,
    bytes: 4 * batch * tokens * size * (wide ? 4 : 1) * (dtype === "f16" ? 2 : 4),
  }),
  wgsl: () => `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let n = ${linearIndex.group} * 64u + lane;
      let row = n / u.size / u.tokens;
      if (row >= u.batch) { return; }
      let place = u32(lengths[row]) + n / u.size % u.tokens;
      if (place >= u.capacity) { return; }
      let to = (row * u.capacity + place) * u.size + n % u.size;
      cacheK[to] = k[n];
      cacheV[to] = v[n];
    }`,
});
