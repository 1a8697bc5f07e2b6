import { kernel } from "../framework/device/kernel.ts";
import type { NormShape } from "./rmsNorm.ts";

/** Rows that one lane sums before a reduction joins the pieces. */
export const WEIGHT_PIECE = 128;

/** dweight of rmsNorm, the sum over rows of dy · x · rstd, in pieces of {@link WEIGHT_PIECE} rows: [pieces, columns]. */
export const rmsNormGradientWeight = kernel<NormShape>({
  name: "rmsNormGradientWeight",
  bindings: { dy: "read", x: "read", rstd: "read", partial: "write" },
  types: ({ dtype }) => ({ dy: dtype, x: dtype }),
  uniforms: { rows: "u32" },
  workgroups: ({ columns }, _, { rows }) => [Math.ceil(columns / 64), Math.ceil(rows / WEIGHT_PIECE)],
  cost: ({ columns }, { rows }) => ({ flops: 3 * rows * columns, bytes: 8 * rows * columns }),
  wgsl: ({ columns }) => `
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3u) {
      let c = id.x;
      if (c >= ${columns}u) { return; }
      var sum = 0.0;
      for (var row = id.y * ${WEIGHT_PIECE}u; row < min((id.y + 1u) * ${WEIGHT_PIECE}u, u.rows); row++) {
        sum += f32(dy[row * ${columns}u + c]) * f32(x[row * ${columns}u + c]) * rstd[row];
      }
      partial[id.y * ${columns}u + c] = sum;
    }`,
});
