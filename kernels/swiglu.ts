import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";
import { width } from "./shared/row.ts";

export interface SwigluShape {
  [name: string]: number | string;
  /** Of y; x has twice as many, first the gate's, then those that it lets through. */
  columns: number;
  dtype: Scalar;
}

export const LANES = 64;

/** y = silu(gate) · up over the halves of each row of x [rows, 2 · columns]. Shazeer 2020, arXiv:2002.05202 */
export const swiglu = kernel<SwigluShape>({
  name: "swiglu",
  bindings: { x: "read", y: "write" },
  types: ({ columns, dtype }) => ({ x: width(columns).type(dtype), y: width(columns).type(dtype) }),
  uniforms: { rows: "u32" },
  workgroups: ({ columns }, _, { rows }) =>
    rows * columns === 0 ? [0] : linearWorkgroups(Math.ceil((rows * columns) / width(columns).w / LANES)),
  cost: ({ columns, dtype }, { rows }) => ({
    flops: 5 * rows * columns,
    bytes: 3 * (dtype === "f16" ? 2 : 4) * rows * columns,
  }),
  wgsl: ({ columns, dtype }) => {
    const { w, type } = width(columns);
    const V = type("f32");
    return `
    @compute @workgroup_size(${LANES})
    fn main(${linearIndex.params}) {
      let i = ${linearIndex.group} * ${LANES}u + lane;
      let row = i / ${columns / w}u;
      if (row >= u.rows) { return; }
      let at = i + row * ${columns / w}u;
      let gate = ${V}(x[at]);
      let up = ${V}(x[at + ${columns / w}u]);
      y[i] = ${type(dtype)}(gate / (1.0 + exp(-gate)) * up);
    }`;
  },
});
