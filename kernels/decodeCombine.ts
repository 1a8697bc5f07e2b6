import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";
import { width } from "./shared/row.ts";

export interface DecodeCombineShape {
  [name: string]: number | string;
  headDim: number;
  dtype: Scalar;
  span: number;
}

/** What the spans of `decodeAttention` come to, joined in their order: o [batch, heads, headDim]. */
export const decodeCombine = kernel({
  name: "decodeCombine",
  bindings: { parts: "read", stats: "read", lengths: "read", o: "write" },
  types: ({ headDim, dtype }: DecodeCombineShape) => {
    const { type } = width(headDim);
    return { parts: type("f32"), stats: "vec2f", lengths: "i32", o: type(dtype) };
  },
  uniforms: { batch: "u32", heads: "u32", capacity: "u32", spans: "u32" },
  workgroups: ({ headDim }, _, { batch, heads }) =>
    batch * heads === 0 ? [0] : linearWorkgroups(Math.ceil((batch * heads * headDim) / width(headDim).w / 64)),
  cost: ({ headDim }, { batch, heads, spans }) => ({
    flops: 2 * batch * heads * spans * headDim,
    bytes: 4 * batch * heads * spans * headDim,
  }),
  wgsl: ({ headDim, dtype, span }) => {
    const { w, type } = width(headDim);
    const columns = headDim / w;
    return `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let n = ${linearIndex.group} * 64u + lane;
      let head = n / ${columns}u;
      let row = head / u.heads;
      if (row >= u.batch) { return; }
      let length = min(u32(lengths[row]) + 1u, u.capacity);
      let first = head * u.spans;
      let behind = first + (length + ${span - 1}u) / ${span}u;
      var top = -1e30;
      for (var i = first; i < behind; i++) { top = max(top, stats[i].x); }
      var total = 0.0;
      var sum = ${type("f32")}();
      for (var i = first; i < behind; i++) {
        let share = exp2(stats[i].x - top);
        total += share * stats[i].y;
        sum += share * parts[i * ${columns}u + n % ${columns}u];
      }
      o[n] = ${type(dtype)}(sum * (1.0 / total));
    }`;
  },
});
