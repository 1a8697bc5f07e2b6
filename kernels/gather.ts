import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export interface GatherShape {
  [name: string]: string;
  dtype: Scalar;
  index: Scalar;
}

/**
 * y[o, j, i] = x[o, index[o·so + j·sj + i·si], i] over [outer, count, inner], x [outer, length, inner]: rows of an embedding, one
 * element per position, or a selection along an axis, by the index's strides. An index outside the axis gives NaN.
 */
export const gather = kernel({
  name: "gather",
  bindings: { x: "read", index: "read", y: "write" },
  types: ({ dtype, index }: GatherShape) => ({ x: dtype, index, y: dtype }),
  uniforms: { outer: "u32", length: "u32", inner: "u32", count: "u32", so: "u32", sj: "u32", si: "u32" },
  workgroups: (_, __, { outer, count, inner }) =>
    outer * count * inner === 0 ? [0] : linearWorkgroups(Math.ceil((outer * count * inner) / 64)),
  cost: (_, { outer, count, inner }) => ({ flops: 0, bytes: 8 * outer * count * inner }),
  wgsl: ({ dtype }) => `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let n = ${linearIndex.group} * 64u + lane;
      if (n >= u.outer * u.count * u.inner) { return; }
      let i = n % u.inner;
      let j = (n / u.inner) % u.count;
      let o = n / u.inner / u.count;
      let at = i32(index[o * u.so + j * u.sj + i * u.si]);
      if (at >= 0 && u32(at) < u.length) { y[n] = x[(o * u.length + u32(at)) * u.inner + i]; }
      else { ${dtype.startsWith("f") ? `var outside = 0x7fc00000u; y[n] = ${dtype}(bitcast<f32>(outside));` : `y[n] = ${dtype}(0);`} }
    }`,
});
