import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export interface CumsumShape {
  [name: string]: string | boolean;
  dtype: Scalar;
  /** From the last element to the first. */
  reverse: boolean;
}

/** Running sums along the middle axis of [outer, length, inner]; a lane per row, summed in order. */
export const cumsum = kernel({
  name: "cumsum",
  bindings: { x: "read", y: "write" },
  types: ({ dtype }: CumsumShape) => ({ x: dtype, y: dtype }),
  uniforms: { outer: "u32", length: "u32", inner: "u32" },
  workgroups: (_, __, { outer, inner }) =>
    outer * inner === 0 ? [0] : linearWorkgroups(Math.ceil((outer * inner) / 64)),
  cost: (_, { outer, length, inner }) => ({ flops: outer * length * inner, bytes: 8 * outer * length * inner }),
  wgsl: ({ dtype, reverse }) => `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let row = ${linearIndex.group} * 64u + lane;
      if (row >= u.outer * u.inner) { return; }
      let base = (row / u.inner) * u.length * u.inner + row % u.inner;
      var sum = ${dtype === "f16" ? "f32" : dtype}(0);
      for (var k = 0u; k < u.length; k++) {
        let at = base + ${reverse ? "(u.length - 1u - k)" : "k"} * u.inner;
        sum += ${dtype === "f16" ? "f32" : dtype}(x[at]);
        y[at] = ${dtype}(sum);
      }
    }`,
});
