import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export interface CumsumShape {
  [name: string]: string | boolean;
  dtype: Scalar;
  /** From the last element to the first. */
  reverse: boolean;
}

const PIECE = 128;

/** Running sums along the middle axis of [outer, length, inner]; a lane per row, summed in order, by pieces: what is small is not added to what has grown large over and over. */
export const cumsum = kernel({
  name: "cumsum",
  bindings: { x: "read", y: "write" },
  types: ({ dtype }: CumsumShape) => ({ x: dtype, y: dtype }),
  uniforms: { outer: "u32", length: "u32", inner: "u32" },
  workgroups: (_, __, { outer, inner }) =>
    outer * inner === 0 ? [0] : linearWorkgroups(Math.ceil((outer * inner) / 64)),
  cost: (_, { outer, length, inner }) => ({ flops: outer * length * inner, bytes: 8 * outer * length * inner }),
  wgsl: ({ dtype, reverse }) => {
    const type = dtype === "f16" ? "f32" : dtype;
    return `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let row = ${linearIndex.group} * 64u + lane;
      if (row >= u.outer * u.inner) { return; }
      let base = (row / u.inner) * u.length * u.inner + row % u.inner;
      var sum = ${type}(0);
      for (var start = 0u; start < u.length; start += ${PIECE}u) {
        var piece = ${type}(0);
        for (var k = start; k < min(start + ${PIECE}u, u.length); k++) {
          let at = base + ${reverse ? "(u.length - 1u - k)" : "k"} * u.inner;
          piece += ${type}(x[at]);
          y[at] = ${dtype}(sum + piece);
        }
        sum += piece;
      }
    }`;
  },
});
