import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export interface CrossEntropyGradientShape {
  [name: string]: string | boolean;
  dtype: Scalar;
  /** Rows have a scale each; otherwise one scale serves all. */
  perRow: boolean;
  /** Writes f16 to a buffer of its own, `half`, rather than over the logits. */
  halved: boolean;
}

const LANES = 64;
/** Columns of a row that a workgroup takes. */
const BLOCK = 1024;

/**
 * x becomes scale · (softmax(x) − onehot(label)) in place, zero for ignored rows: the gradient of cross-entropy takes its logits' room,
 * unless it is wanted in f16 and the logits are f32.
 */
export const crossEntropyGradient = kernel({
  name: "crossEntropyGradient",
  bindings: ({ halved }: CrossEntropyGradientShape) => ({
    x: halved ? "read" : "update",
    label: "read",
    lse: "read",
    scale: "read",
    ...(halved ? { half: "write" as const } : {}),
  }),
  types: ({ dtype }) => ({ x: dtype, label: "i32", half: "f16" }),
  uniforms: { rows: "u32", columns: "u32", ignore: "i32" },
  workgroups: (_, __, { rows, columns }) =>
    rows * columns === 0 ? [0] : linearWorkgroups(rows * Math.ceil(columns / BLOCK)),
  cost: (_, { rows, columns }) => ({ flops: 4 * rows * columns, bytes: 8 * rows * columns }),
  wgsl: ({ dtype, perRow, halved }) => `
    @compute @workgroup_size(${LANES})
    fn main(${linearIndex.params}) {
      let blocks = (u.columns + ${BLOCK - 1}u) / ${BLOCK}u;
      let row = ${linearIndex.group} / blocks;
      if (row >= u.rows) { return; }
      let first = (${linearIndex.group} % blocks) * ${BLOCK}u;
      let at = label[row];
      let level = lse[row];
      let share = scale[${perRow ? "row" : "0"}];
      for (var c = first + lane; c < min(first + ${BLOCK}u, u.columns); c += ${LANES}u) {
        let i = row * u.columns + c;
        let slope = (exp(f32(x[i]) - level) - select(0.0, 1.0, u32(at) == c)) * share;
        ${halved ? "half[i] = f16" : `x[i] = ${dtype}`}(select(slope, 0.0, at == u.ignore));
      }
    }`,
});
