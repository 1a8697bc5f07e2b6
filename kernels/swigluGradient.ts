import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";
import { width } from "./shared/row.ts";
import { LANES, type SwigluShape } from "./swiglu.ts";

/** dx of {@link swiglu}, gate's and up's halves side by side as in x. */
export const swigluGradient = kernel<SwigluShape>({
  name: "swigluGradient",
  bindings: { x: "read", dy: "read", dx: "write" },
  types: ({ columns, dtype }) => {
    const element = width(columns).type(dtype);
    return { x: element, dy: element, dx: element };
  },
  uniforms: { rows: "u32" },
  workgroups: ({ columns }, _, { rows }) =>
    rows * columns === 0 ? [0] : linearWorkgroups(Math.ceil((rows * columns) / width(columns).w / LANES)),
  cost: ({ columns, dtype }, { rows }) => ({
    flops: 10 * rows * columns,
    bytes: 5 * (dtype === "f16" ? 2 : 4) * rows * columns,
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
      let slope = ${V}(dy[i]);
      let s = 1.0 / (1.0 + exp(-gate));
      dx[at] = ${type(dtype)}(slope * up * s * (1.0 + gate * (1.0 - s)));
      dx[at + ${columns / w}u] = ${type(dtype)}(slope * gate * s);
    }`;
  },
});
