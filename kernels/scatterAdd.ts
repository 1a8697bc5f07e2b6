import { kernel, type Scalar } from "../framework/device/kernel.ts";

export interface ScatterAddShape {
  [name: string]: string;
  dtype: Scalar;
  index: Scalar;
}

export interface ScatterAddTuning {
  [name: string]: number;
  /** The indexed axis is dealt out to so many lanes, by the index's remainder. More wait less on memory, and read all indices more often. */
  parts: number;
}

/**
 * y[o, index[o·so + j·sj + i·si], i] += x[o, j, i] over [outer, count, inner]: the other way round of gather, and its gradient. A
 * lane owns its elements of y and walks j in order, so that the sum is the same every time without atomics. Indices outside the
 * axis are left out.
 */
export const scatterAdd = kernel<ScatterAddShape, ScatterAddTuning>({
  name: "scatterAdd",
  bindings: { x: "read", index: "read", y: "update" },
  types: ({ dtype, index }) => ({ x: dtype, index }),
  uniforms: { outer: "u32", length: "u32", inner: "u32", count: "u32", so: "u32", sj: "u32", si: "u32" },
  sizes: ["outer", "length", "inner", "count"],
  tuning: { parts: [16, 64, 128] },
  pick: (_, target) => ({ parts: target.class === "software" ? 16 : 128 }),
  workgroups: (_, { parts }, { outer, inner, count }) =>
    outer * inner * count === 0 ? [0] : [Math.ceil((outer * inner) / 64), parts],
  cost: (_, { outer, count, inner }) => ({ flops: outer * count * inner, bytes: 12 * outer * count * inner }),
  wgsl: (_, { parts }) => `
    @compute @workgroup_size(64)
    fn main(@builtin(global_invocation_id) id: vec3u) {
      if (id.x >= u.outer * u.inner) { return; }
      let i = id.x % u.inner;
      let o = id.x / u.inner;
      for (var j = 0u; j < u.count; j++) {
        let at = u32(index[o * u.so + j * u.sj + i * u.si]);
        if (at % ${parts}u == id.y && at < u.length) {
          y[(o * u.length + at) * u.inner + i] += f32(x[(o * u.count + j) * u.inner + i]);
        }
      }
    }`,
});
