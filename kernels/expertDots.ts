import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";
import { joins, pickRow, type RowTuning, rowTuning, validRow, width } from "./shared/row.ts";

export interface ExpertDotsShape {
  [name: string]: number | string;
  columns: number;
  dtype: Scalar;
  /** Slots of a token. */
  choices: number;
}

/** y[slot] = x[rowOf[slot]] · dy[slot / choices]: the gradient of `expertCombine` by its weights. A workgroup a slot. */
export const expertDots = kernel<ExpertDotsShape, RowTuning>({
  name: "expertDots",
  bindings: { x: "read", dy: "read", rowOf: "read", y: "write" },
  types: ({ columns, dtype }) => ({ x: width(columns).type(dtype), dy: width(columns).type(dtype), rowOf: "u32" }),
  uniforms: { slots: "u32" },
  tuning: rowTuning,
  valid: validRow,
  pick: ({ columns }, target) => pickRow(columns, target),
  workgroups: (_, __, { slots }) => (slots === 0 ? [0] : linearWorkgroups(slots)),
  cost: ({ columns, dtype }, { slots }) => ({
    flops: 2 * slots * columns,
    bytes: 2 * (dtype === "f16" ? 2 : 4) * slots * columns,
  }),
  wgsl: ({ columns, choices }, tuning) => {
    const { w, type, sum } = width(columns);
    return `
    ${joins(tuning, "Sum")}

    @compute @workgroup_size(${tuning.lanes})
    fn main(${linearIndex.params}) {
      let slot = ${linearIndex.group};
      if (slot >= u.slots) { return; }
      let begin = rowOf[slot] * ${columns / w}u;
      let to = slot / ${choices}u * ${columns / w}u;
      var part = ${type("f32")}();
      for (var c = lane; c < ${columns / w}u; c += ${tuning.lanes}u) {
        part += ${type("f32")}(x[begin + c]) * ${type("f32")}(dy[to + c]);
      }
      let all = allSum(${sum("part")}, lane);
      if (lane == 0u) { y[slot] = all; }
    }`;
  },
});
