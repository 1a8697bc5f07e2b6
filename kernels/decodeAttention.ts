import { kernel, type Target } from "../framework/device/kernel.ts";
import { attendFunction, type DecodeShape, type DecodeTuning, sharedBytes } from "./shared/decodeAttend.ts";
import { width } from "./shared/row.ts";

export type { DecodeShape, DecodeTuning };

function pick(shape: DecodeShape, target: Target): DecodeTuning {
  if (target.class === "software" && target.subgroups && target.subgroupSize >= 4)
    return { lanes: target.subgroupSize, subgroup: 1, unroll: 0 };
  const lanes =
    [64, 32, 16].find((n) => sharedBytes(shape, { lanes: n, subgroup: 0, unroll: 1 }) <= target.sharedBytes) ?? 8;
  return { lanes, subgroup: 0, unroll: 1 };
}

/**
 * Attention of one query a row over a cache: q [batch, heads, headDim], k and v [batch, capacity, kvHeads, headDim], of which row b
 * sees lengths[b] + 1 keys. A workgroup takes a span of one key head's keys, four a lane at a time: first a lane has its keys'
 * scores for all heads of the group, then a column of the values' sum. With spans it gives sums o [batch, heads, spans, headDim]
 * and their (top, total) in `stats` [batch, heads, spans]; otherwise o [batch, heads, headDim].
 * Dao et al. 2023, https://crfm.stanford.edu/2023/10/12/flashdecoding.html; Ainslie et al. 2023, arXiv:2305.13245
 */
export const decodeAttention = kernel<DecodeShape, DecodeTuning>({
  name: "decodeAttention",
  bindings: ({ span, source, norm }) => ({
    ...(source === "q"
      ? { q: "read", k: "read", v: "read" }
      : { qkv: "read", table: "read", k: "update", v: "update" }),
    ...(norm ? { qNorm: "read", kNorm: "read" } : {}),
    lengths: "read",
    o: "write",
    ...(span ? { stats: "write" as const } : {}),
  }),
  types: ({ headDim, dtype, span }) => {
    const { type } = width(headDim);
    const own = type(dtype);
    const weights = { qNorm: "vec4f", kNorm: "vec4f", table: "vec4f" };
    return {
      q: own,
      qkv: own,
      k: own,
      v: own,
      ...weights,
      lengths: "i32",
      o: span ? type("f32") : own,
      stats: "vec2f",
    };
  },
  uniforms: { batch: "u32", kvHeads: "u32", capacity: "u32", spans: "u32", scale: "f32", eps: "f32" },
  manyRegisters: true,
  tuning: { lanes: [8, 4, 16, 32, 64, 128], subgroup: [0, 1], unroll: [0, 1] },
  valid: (shape, tuning, target) =>
    (shape.source === "q" || tuning.subgroup > 0) &&
    shape.span % (4 * tuning.lanes) === 0 &&
    sharedBytes(shape, tuning) <= target.sharedBytes &&
    (tuning.subgroup === 0 || (target.subgroups && target.subgroupSize === tuning.lanes)),
  pick,
  workgroups: (_, __, { batch, kvHeads, spans }) => [spans, kvHeads, batch],
  cost: ({ headDim, group, dtype }, { batch, kvHeads, capacity }) => ({
    flops: 4 * batch * kvHeads * group * capacity * headDim, // of full caches
    bytes: 2 * batch * kvHeads * capacity * headDim * (dtype === "f16" ? 2 : 4),
  }),
  wgsl: (shape, tuning) => `
    ${attendFunction(shape, tuning, {
      qkv: (i) => `qkv[${i}]`,
      qNorm: (i) => `qNorm[${i}]`,
      kNorm: (i) => `kNorm[${i}]`,
      lockstep: false,
      store: (place, value) => `o[${place}] = ${value};`,
    })}
    @compute @workgroup_size(${tuning.lanes})
    fn main(@builtin(workgroup_id) at: vec3u, @builtin(local_invocation_index) lane: u32) { attend(at, lane); }`,
});
