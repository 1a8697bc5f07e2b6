import { kernel, linearIndex, linearWorkgroups, type Target } from "../framework/device/kernel.ts";
import type { NormShape } from "./rmsNorm.ts";
import { joins, pickRow, type RowTuning, rowTuning, validRow, width } from "./shared/row.ts";

export interface NormGradientShape extends NormShape {
  /** Adds `base`, which lies as dx does: what x's other uses gave it. */
  base: boolean;
}

/** Rows that a workgroup walks, whose part of dweight it sums. */
export const ROWS = 16;

/**
 * dx of rmsNorm: with n = x · rstd and g = dy · weight, dx = rstd · (g − n · mean(g · n)) (+ base). And dweight = Σ dy · n, summed over
 * {@link ROWS} rows at a time: `partial` [⌈rows / ROWS⌉, columns], for `sumRows`.
 */
export const rmsNormGradient = kernel<NormGradientShape, RowTuning>({
  name: "rmsNormGradient",
  bindings: ({ base }) => ({
    dy: "read",
    x: "read",
    weight: "read",
    rstd: "read",
    ...(base ? { base: "read" as const } : {}),
    dx: "write",
    partial: "write",
  }),
  types: ({ columns, dtype }) => {
    const { type } = width(columns);
    const [element, f32] = [type(dtype), type("f32")];
    return { dy: element, x: element, base: element, dx: element, weight: f32, partial: f32 };
  },
  uniforms: { rows: "u32" },
  sizes: ["rows"],
  tuning: rowTuning,
  valid: validRow,
  pick: ({ columns }, target: Target) => pickRow(columns, target),
  workgroups: (_, __, { rows }) => (rows === 0 ? [0] : linearWorkgroups(Math.ceil(rows / ROWS))),
  cost: ({ columns, base, dtype }, { rows }) => ({
    flops: 10 * rows * columns,
    bytes: (dtype === "f16" ? 2 : 4) * (base ? 4 : 3) * rows * columns,
  }),
  wgsl: ({ columns, dtype, base }, tuning) => {
    const { w, type, sum } = width(columns);
    const V = type("f32");
    const vectors = columns / w;
    const own = Math.ceil(vectors / tuning.lanes);
    // The bound of a long loop is hidden from the compiler: unrolled it takes seconds to compile and runs slower.
    const each = (body: string) =>
      `for (var i = 0u; i < ${own}u${own > 4 ? " + zero" : ""}; i++) { let c = lane + i * ${tuning.lanes}u; ${vectors % tuning.lanes ? `if (c < ${vectors}u)` : ""} { ${body} } }`;
    return `
    ${joins(tuning, "Sum")}

    @compute @workgroup_size(${tuning.lanes})
    fn main(${linearIndex.params}) {
      let zero = u.rows >> 31u;
      let first = ${linearIndex.group} * ${ROWS}u;
      if (first >= u.rows) { return; }
      var sums: array<${V}, ${own}>;
      var slopes: array<${V}, ${own}>;
      var normals: array<${V}, ${own}>;
      for (var row = first; row < min(first + ${ROWS}u, u.rows); row++) {
        let start = row * ${vectors}u;
        let r = rstd[row];
        var along = 0.0;
        ${each(`
          let n = ${V}(x[start + c]) * r;
          let slope = ${V}(dy[start + c]);
          sums[i] += slope * n;
          let g = slope * weight[c];
          along += ${sum("g * n")};
          slopes[i] = g;
          normals[i] = n;`)}
        let share = allSum(along, lane) / ${columns}.0;
        ${each(`dx[start + c] = ${type(dtype)}(${base ? `${V}(base[start + c]) + ` : ""}r * (slopes[i] - normals[i] * share));`)}
      }
      ${each(`partial[${linearIndex.group} * ${vectors}u + c] = sums[i];`)}
    }`;
  },
});
