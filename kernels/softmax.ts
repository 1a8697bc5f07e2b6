import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";
import { joins, pickRow, type RowTuning, rowTuning, validRow } from "./shared/row.ts";

export interface SoftmaxShape {
  [name: string]: string | boolean;
  dtype: Scalar;
  log: boolean;
}

/** softmax or its logarithm over rows of [rows, columns], shifted by the row's maximum; a row of -Infinity gives zeros (log: -Infinity). */
export const softmax = kernel<SoftmaxShape, RowTuning>({
  name: "softmax",
  bindings: { x: "read", y: "write" },
  types: ({ dtype }) => ({ x: dtype, y: dtype }),
  uniforms: { rows: "u32", columns: "u32" },
  sizes: ["rows", "columns"],
  tuning: rowTuning,
  valid: validRow,
  pick: (_, target) => pickRow(512, target),
  workgroups: (_, __, { rows, columns }) => (rows * columns === 0 ? [0] : linearWorkgroups(rows)),
  cost: (_, { rows, columns }) => ({ flops: 6 * rows * columns, bytes: 8 * rows * columns }),
  wgsl: ({ dtype, log }, tuning) => `
    ${joins(tuning, "Sum", "Max")}

    @compute @workgroup_size(${tuning.lanes})
    fn main(${linearIndex.params}) {
      let row = ${linearIndex.group};
      if (row >= u.rows) { return; }
      let base = row * u.columns;
      var top = -3.4028234e38;
      for (var c = lane; c < u.columns; c += ${tuning.lanes}u) { top = max(top, f32(x[base + c])); }
      top = allMax(top, lane);
      var total = 0.0;
      for (var c = lane; c < u.columns; c += ${tuning.lanes}u) { total += exp(f32(x[base + c]) - top); }
      total = allSum(total, lane);
      ${log ? "let shift = top + log(total);" : "let share = select(1.0 / total, 0.0, total == 0.0);"}
      for (var c = lane; c < u.columns; c += ${tuning.lanes}u) {
        y[base + c] = ${dtype}(${log ? "f32(x[base + c]) - shift" : "exp(f32(x[base + c]) - top) * share"});
      }
    }`,
});
