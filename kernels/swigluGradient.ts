import { kernel, linearIndex } from "../framework/device/kernel.ts";
import { width } from "./shared/row.ts";
import { gateAndUp, LANES, type SwigluShape, swigluWorkgroups } from "./swiglu.ts";

/** dx of {@link swiglu}, gate's and up's halves side by side as in x. */
export const swigluGradient = kernel<SwigluShape>({
  name: "swigluGradient",
  bindings: { x: "read", dy: "read", dx: "write" },
  types: ({ columns, dtype }) => {
    const element = width(columns).type(dtype);
    return { x: element, dy: element, dx: element };
  },
  uniforms: { rows: "u32" },
  workgroups: swigluWorkgroups,
  cost: ({ columns, dtype }, { rows }) => ({
    flops: 10 * rows * columns,
    bytes: 5 * (dtype === "f16" ? 2 : 4) * rows * columns,
  }),
  wgsl: (shape) => {
    const { type } = width(shape.columns);
    return `
    @compute @workgroup_size(${LANES})
    fn main(${linearIndex.params}) {${gateAndUp(shape)}
      let slope = ${type("f32")}(dy[i]);
      let s = 1.0 / (1.0 + exp(-gate));
      dx[at] = ${type(shape.dtype)}(slope * up * s * (1.0 + gate * (1.0 - s)));
      dx[at + half] = ${type(shape.dtype)}(slope * gate * s);
    }`;
  },
});
