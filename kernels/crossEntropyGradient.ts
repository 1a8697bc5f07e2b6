import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export interface CrossEntropyGradientShape {
  [name: string]: string | boolean;
  dtype: Scalar;
  /** Rows have a scale each; otherwise one scale serves all. */
  perRow: boolean;
  /** Writes f16 to a buffer of its own, `half`, rather than over the logits. */
  halved: boolean;
}

export interface CrossEntropyGradientTuning {
  [name: string]: number;
  lanes: number;
  /** Columns of a row that a workgroup takes. */
  block: number;
}

/**
 * x becomes scale · (softmax(x) − onehot(label)) in place, zero for ignored rows: the gradient of cross-entropy takes its logits' room,
 * unless it is wanted in f16 and the logits are f32.
 */
export const crossEntropyGradient = kernel<CrossEntropyGradientShape, CrossEntropyGradientTuning>({
  name: "crossEntropyGradient",
  bindings: ({ halved }) => ({
    x: halved ? "read" : "update",
    label: "read",
    lse: "read",
    scale: "read",
    ...(halved ? { half: "write" as const } : {}),
  }),
  types: ({ dtype }) => ({ x: dtype, label: "i32", half: "f16" }),
  uniforms: { rows: "u32", columns: "u32", ignore: "i32" },
  sizes: ["rows", "columns"],
  tuning: { lanes: [64, 8, 128, 256], block: [1024, 4096] },
  // A CPU has two thirds of the time where a subgroup walks a row by itself.
  pick: (_, target) => (target.class === "software" ? { lanes: 8, block: 4096 } : { lanes: 64, block: 1024 }),
  workgroups: (_, { block }, { rows, columns }) =>
    rows * columns === 0 ? [0] : linearWorkgroups(rows * Math.ceil(columns / block)),
  cost: (_, { rows, columns }) => ({ flops: 4 * rows * columns, bytes: 8 * rows * columns }),
  wgsl: ({ dtype, perRow, halved }, { lanes, block }) => `
    @compute @workgroup_size(${lanes})
    fn main(${linearIndex.params}) {
      let blocks = (u.columns + ${block - 1}u) / ${block}u;
      let row = ${linearIndex.group} / blocks;
      if (row >= u.rows) { return; }
      let first = (${linearIndex.group} % blocks) * ${block}u;
      let at = label[row];
      let level = lse[row];
      let share = scale[${perRow ? "row" : "0"}];
      for (var c = first + lane; c < min(first + ${block}u, u.columns); c += ${lanes}u) {
        let i = row * u.columns + c;
        let slope = (exp(f32(x[i]) - level) - select(0.0, 1.0, u32(at) == c)) * share;
        ${halved ? "half[i] = f16" : `x[i] = ${dtype}`}(select(slope, 0.0, at == u.ignore));
      }
    }`,
});
