import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export interface CrossEntropyGradientShape {
  [name: string]: string | boolean;
  dtype: Scalar;
  /** Rows have a scale each; otherwise one scale serves all. */
  perRow: boolean;
}

const LANES = 64;

/** x becomes scale · (softmax(x) − onehot(label)) in place, zero for ignored rows: the gradient of cross-entropy takes its logits' room. */
export const crossEntropyGradient = kernel({
  name: "crossEntropyGradient",
  bindings: { x: "update", label: "read", lse: "read", scale: "read" },
  types: ({ dtype }: CrossEntropyGradientShape) => ({ x: dtype, label: "i32" }),
  uniforms: { rows: "u32", columns: "u32", ignore: "i32" },
  workgroups: (_, __, { rows, columns }) =>
    rows * columns === 0 ? [0] : linearWorkgroups(Math.ceil((rows * columns) / LANES / 4)),
  cost: (_, { rows, columns }) => ({ flops: 4 * rows * columns, bytes: 8 * rows * columns }),
  wgsl: ({ dtype, perRow }) => `
    @compute @workgroup_size(${LANES})
    fn main(${linearIndex.params}) {
      let first = (${linearIndex.group} * ${LANES}u + lane) * 4u;
      for (var i = first; i < min(first + 4u, u.rows * u.columns); i++) {
        let row = i / u.columns;
        let at = label[row];
        let hit = select(0.0, 1.0, u32(at) == i % u.columns);
        let share = (exp(f32(x[i]) - lse[row]) - hit) * scale[${perRow ? "row" : "0"}];
        x[i] = ${dtype}(select(share, 0.0, at == u.ignore));
      }
    }`,
});
