import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";
import { joins, pickRow, type RowTuning, rowTuning, validRow } from "./shared/row.ts";

export interface CrossEntropyShape {
  [name: string]: string;
  dtype: Scalar;
}

/**
 * loss[r] = logsumexp(x[r]) − x[r, label[r]], and the logsumexp for the gradient. A label equal to `ignore` gives 0; one outside
 * the columns gives NaN. x [rows, columns], label i32 [rows]. One pass over x: Milakov & Gimelshein 2018, arXiv:1805.02867
 */
export const crossEntropy = kernel<CrossEntropyShape, RowTuning>({
  name: "crossEntropy",
  bindings: { x: "read", label: "read", loss: "write", lse: "write" },
  types: ({ dtype }) => ({ x: dtype, label: "i32" }),
  uniforms: { rows: "u32", columns: "u32", ignore: "i32" },
  sizes: ["rows", "columns"],
  tuning: rowTuning,
  valid: validRow,
  pick: (_, target) => pickRow(4096, target),
  workgroups: (_, __, { rows }) => (rows === 0 ? [0] : linearWorkgroups(rows)),
  cost: (_, { rows, columns }) => ({ flops: 4 * rows * columns, bytes: 4 * rows * columns }),
  wgsl: (_, tuning) => `
    ${joins(tuning, "Sum", "Max")}

    @compute @workgroup_size(${tuning.lanes})
    fn main(${linearIndex.params}) {
      let row = ${linearIndex.group};
      if (row >= u.rows) { return; }
      let base = row * u.columns;
      var own = -3.4028234e38; // the lane's maximum so far, and its sum above that
      var sum = 0.0;
      for (var c = lane; c < u.columns; c += ${tuning.lanes}u) {
        let v = f32(x[base + c]);
        let peak = max(own, v);
        sum = sum * exp(own - peak) + exp(v - peak);
        own = peak;
      }
      let top = allMax(own, lane);
      let all = top + log(allSum(sum * exp(own - top), lane));
      if (lane == 0u) {
        lse[row] = all;
        let at = label[row];
        var outside = 0x7fc00000u;
        var value = bitcast<f32>(outside);
        if (at == u.ignore) { value = 0.0; }
        else if (at >= 0 && u32(at) < u.columns) { value = all - f32(x[base + u32(at)]); }
        loss[row] = value;
      }
    }`,
});
