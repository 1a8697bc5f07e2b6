import { kernel, type Scalar } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";

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
export const rope = kernel<RopeShape, ItemTuning>({
  name: "rope",
  bindings: ({ positions }) => ({
    x: "read",
    table: "read",
    ...(positions ? { position: "read" as const } : {}),
    y: "write",
  }),
  types: ({ dtype }) => ({ x: dtype, y: dtype, table: "vec2f", position: "i32" }),
  uniforms: { tokens: "u32", heads: "u32", length: "u32", offset: "u32", direction: "f32" },
  sizes: ["tokens", "heads"],
  ...itemSpace,
  workgroups: ({ headDim }, tuning, { tokens, heads }) => itemWorkgroups((tokens * heads * headDim) / 2, tuning),
  cost: ({ headDim }, { tokens, heads }) => ({
    flops: 3 * tokens * heads * headDim,
    bytes: 8 * tokens * heads * headDim,
  }),
  wgsl: ({ headDim, dtype, positions }, tuning) =>
    eachItem(
      tuning,
      "tokens",
      `
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
      y[low + ${headDim / 2}u] = ${dtype}(b * turn.x + a * s);`,
    ),
});
