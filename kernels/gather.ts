import { kernel, type Scalar } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";

export interface GatherShape {
  [name: string]: string | boolean;
  dtype: Scalar;
  index: Scalar;
  /** Whether four elements that lie together have one index: `inner` is a multiple of four, and `si` 0. */
  fours: boolean;
}

export interface GatherTuning extends ItemTuning {
  /** Whether elements move four at a time. */
  wide: number;
}

/**
 * y[o, j, i] = x[o, index[o·so + j·sj + i·si], i] over [outer, count, inner], x [outer, length, inner]: rows of an embedding, one
 * element per position, or a selection along an axis, by the index's strides. An index outside the axis gives NaN.
 */
export const gather = kernel<GatherShape, GatherTuning>({
  name: "gather",
  bindings: { x: "read", index: "read", y: "write" },
  types: ({ dtype, index }, { wide }) => ({ x: element(dtype, wide), index, y: element(dtype, wide) }),
  uniforms: { outer: "u32", length: "u32", inner: "u32", count: "u32", so: "u32", sj: "u32", si: "u32" },
  sizes: ["outer", "count", "inner"],
  tuning: itemSpace.tuning.map((family) => ({ wide: [0, 1], ...family })),
  valid: (shape, tuning, target) => (shape.fours || !tuning.wide) && itemSpace.valid(shape, tuning, target),
  // Divisions cost more than the move on a CPU.
  pick: (shape, target) => ({
    wide: target.class === "software" && shape.fours ? 1 : 0,
    ...itemSpace.pick(shape, target),
  }),
  workgroups: (_, tuning, { outer, count, inner }) =>
    itemWorkgroups((outer * count * inner) / (tuning.wide ? 4 : 1), tuning),
  cost: (_, { outer, count, inner }) => ({ flops: 0, bytes: 8 * outer * count * inner }),
  wgsl: ({ dtype }, tuning) => {
    const type = element(dtype, tuning.wide);
    return eachItem(
      tuning,
      "count",
      `
      let inner = u.inner${tuning.wide ? " / 4u" : ""};
      let row = i / inner;
      let o = row / u.count;
      if (o >= u.outer) { return; }
      let c = i % inner;
      let at = i32(index[o * u.so + row % u.count * u.sj + c * u.si]);
      if (at >= 0 && u32(at) < u.length) { y[i] = x[(o * u.length + u32(at)) * inner + c]; }
      else { ${dtype.startsWith("f") ? `var outside = 0x7fc00000u; y[i] = ${type}(${dtype}(bitcast<f32>(outside)));` : `y[i] = ${type}();`} }`,
    );
  },
});

const element = (dtype: Scalar, wide: number) => (wide ? `vec4<${dtype}>` : dtype);
