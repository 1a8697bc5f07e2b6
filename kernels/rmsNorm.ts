import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";
import { joins, pickRow, type RowTuning, rowTuning, validRow, width } from "./shared/row.ts";

export interface NormShape {
  [name: string]: number | string | boolean;
  columns: number;
  dtype: Scalar;
}

/** y = x · rsqrt(mean(x²) + eps) · weight, a workgroup per row. Zhang & Sennrich 2019, arXiv:1910.07467 */
export const rmsNorm = kernel<NormShape, RowTuning>({
  name: "rmsNorm",
  bindings: { x: "read", weight: "read", y: "write", rstd: "write" },
  types: ({ columns, dtype }) => ({
    x: width(columns).type(dtype),
    weight: width(columns).type("f32"),
    y: width(columns).type(dtype),
  }),
  uniforms: { rows: "u32", eps: "f32" },
  sizes: ["rows"],
  tuning: rowTuning,
  valid: validRow,
  pick: ({ columns }, target) => pickRow(columns, target),
  workgroups: (_, __, { rows }) => (rows === 0 ? [0] : linearWorkgroups(rows)),
  cost: ({ columns }, { rows }) => ({ flops: 4 * rows * columns, bytes: 8 * rows * columns }),
  wgsl: ({ columns, dtype }, tuning) => {
    const { w, type, sum } = width(columns);
    const V = type("f32");
    return `
    ${joins(tuning, "Sum")}

    @compute @workgroup_size(${tuning.lanes})
    fn main(${linearIndex.params}) {
      let row = ${linearIndex.group};
      if (row >= u.rows) { return; }
      let base = row * ${columns / w}u;
      var squares = 0.0;
      for (var c = lane; c < ${columns / w}u; c += ${tuning.lanes}u) {
        let v = ${V}(x[base + c]);
        squares += ${sum("v * v")};
      }
      let r = inverseSqrt(allSum(squares, lane) / ${columns}.0 + u.eps);
      for (var c = lane; c < ${columns / w}u; c += ${tuning.lanes}u) {
        y[base + c] = ${type(dtype)}(${V}(x[base + c]) * r * weight[c]);
      }
      if (lane == 0u) { rstd[row] = r; }
    }`;
  },
});
