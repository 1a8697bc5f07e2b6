import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";
import type { NormShape } from "./rmsNorm.ts";
import { joins, pickRow, type RowTuning, rowTuning, validRow, width } from "./shared/row.ts";

/** dx of rmsNorm: with n = x · rstd and g = dy · weight, dx = rstd · (g − n · mean(g · n)). */
export const rmsNormGradient = kernel<NormShape, RowTuning>({
  name: "rmsNormGradient",
  bindings: { dy: "read", x: "read", weight: "read", rstd: "read", dx: "write" },
  types: ({ columns, dtype }) => {
    const { type } = width(columns);
    return { dy: type(dtype), x: type(dtype), weight: type("f32"), dx: type(dtype) };
  },
  uniforms: { rows: "u32" },
  tuning: rowTuning,
  valid: validRow,
  pick: ({ columns }, target) => pickRow(columns, target),
  workgroups: (_, __, { rows }) => (rows === 0 ? [0] : linearWorkgroups(rows)),
  cost: ({ columns }, { rows }) => ({ flops: 8 * rows * columns, bytes: 12 * rows * columns }),
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
      let r = rstd[row];
      var along = 0.0;
      for (var c = lane; c < ${columns / w}u; c += ${tuning.lanes}u) {
        let v = ${V}(dy[base + c]) * weight[c] * ${V}(x[base + c]);
        along += ${sum("v")};
      }
      let share = allSum(along, lane) * r * r / ${columns}.0;
      for (var c = lane; c < ${columns / w}u; c += ${tuning.lanes}u) {
        let g = ${V}(dy[base + c]) * weight[c];
        dx[base + c] = ${type(dtype)}(r * (g - ${V}(x[base + c]) * share));
      }
    }`;
  },
});
