import { kernel, type Scalar, type Uniforms, type Workgroups } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";
import { width } from "./shared/row.ts";

export interface SwigluShape {
  [name: string]: number | string;
  /** Of y; x has twice as many, first the gate's, then those that it lets through. */
  columns: number;
  dtype: Scalar;
}

export const swigluWorkgroups = ({ columns }: SwigluShape, tuning: ItemTuning, { rows }: Uniforms): Workgroups =>
  itemWorkgroups((rows * columns) / width(columns).w, tuning);

/** WGSL that finds element `i` of y: `gate` and `up`, which stand at `at` and `half` behind it in x. */
export function gateAndUp({ columns }: SwigluShape): string {
  const { w, type } = width(columns);
  return `
      const half = ${columns / w}u;
      let row = i / half;
      if (row >= u.rows) { return; }
      let at = i + row * half;
      let gate = ${type("f32")}(x[at]);
      let up = ${type("f32")}(x[at + half]);`;
}

/** y = silu(gate) · up over the halves of each row of x [rows, 2 · columns]. Shazeer 2020, arXiv:2002.05202 */
export const swiglu = kernel<SwigluShape, ItemTuning>({
  name: "swiglu",
  bindings: { x: "read", y: "write" },
  types: ({ columns, dtype }) => ({ x: width(columns).type(dtype), y: width(columns).type(dtype) }),
  uniforms: { rows: "u32" },
  sizes: ["rows"],
  ...itemSpace,
  workgroups: swigluWorkgroups,
  cost: ({ columns, dtype }, { rows }) => ({
    flops: 5 * rows * columns,
    bytes: 3 * (dtype === "f16" ? 2 : 4) * rows * columns,
  }),
  wgsl: (shape, tuning) =>
    eachItem(
      tuning,
      "rows",
      `${gateAndUp(shape)}
      y[i] = ${width(shape.columns).type(shape.dtype)}(gate / (1.0 + exp(-gate)) * up);`,
    ),
});
