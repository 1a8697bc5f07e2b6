import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export interface RopeShape {
  [name: string]: number | string | boolean;
  headDim: number;
  dtype: Scalar;
  /** Positions come from a buffer; otherwise token t of a row stands at `offset + t`. */
  positions: boolean;
}

/**
 * Rotary position embedding of x [tokens, heads, headDim], rotating halves (Llama's way): with angle θ of pair i at the token's
 * position, (x_i, x_{i+D/2}) turns by `direction` · θ. The table holds cos and sin by position: [positions, headDim / 2, 2].
 * `direction` −1 is the gradient. Su et al. 2021, arXiv:2104.09864
 */
export const rope = kernel({
  name: "rope",
  bindings: ({ positions }: RopeShape) => ({
    x: "read",
    table: "read",
    ...(positions ? { position: "read" as const } : {}),
    y: "write",
  }),
  types: ({ dtype }) => ({ x: dtype, y: dtype, table: "vec2f", position: "i32" }),
  uniforms: { tokens: "u32", heads: "u32", length: "u32", offset: "u32", direction: "f32" },
  workgroups: ({ headDim }, _, { tokens, heads }) => {
    const pairs = (tokens * heads * headDim) / 2;
    return pairs === 0 ? [0] : linearWorkgroups(Math.ceil(pairs / 64));
  },
  cost: ({ headDim }, { tokens, heads }) => ({
    flops: 3 * tokens * heads * headDim,
    bytes: 8 * tokens * heads * headDim,
  }),
  wgsl: ({ headDim, dtype, positions }) => `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let i = ${linearIndex.group} * 64u + lane;
      let pair = i % ${headDim / 2}u;
      let head = i / ${headDim / 2}u;
      let token = head / u.heads;
      if (token >= u.tokens) { return; }
      let at = ${positions ? "u32(position[token])" : "u.offset + token % u.length"};
      let turn = table[at * ${headDim / 2}u + pair];
      let s = turn.y * u.direction;
      let low = head * ${headDim}u + pair;
      let a = f32(x[low]);
      let b = f32(x[low + ${headDim / 2}u]);
      y[low] = ${dtype}(a * turn.x - b * s);
      y[low + ${headDim / 2}u] = ${dtype}(b * turn.x + a * s);
    }`,
});
