import { kernel } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace } from "./shared/items.ts";
import { width } from "./shared/row.ts";
import { gateAndUp, type SwigluShape, swigluWorkgroups } from "./swiglu.ts";

/** dx of {@link swiglu}, gate's and up's halves side by side as in x. */
export const swigluGradient = kernel<SwigluShape, ItemTuning>({
  name: "swigluGradient",
  bindings: { x: "read", dy: "read", dx: "write" },
  types: ({ columns, dtype }) => {
    const element = width(columns).type(dtype);
    return { x: element, dy: element, dx: element };
  },
  uniforms: { rows: "u32" },
  sizes: ["rows"],
  ...itemSpace,
  workgroups: swigluWorkgroups,
  cost: ({ columns, dtype }, { rows }) => ({
    flops: 10 * rows * columns,
    bytes: 5 * (dtype === "f16" ? 2 : 4) * rows * columns,
  }),
  wgsl: (shape, tuning) => {
    const { type } = width(shape.columns);
    return eachItem(
      tuning,
      "rows",
      `${gateAndUp(shape)}
      let slope = ${type("f32")}(dy[i]);
      let s = 1.0 / (1.0 + exp(-gate));
      dx[at] = ${type(shape.dtype)}(slope * up * s * (1.0 + gate * (1.0 - s)));
      dx[at + half] = ${type(shape.dtype)}(slope * gate * s);`,
    );
  },
});
