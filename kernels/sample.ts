import { kernel, type Scalar, type Target } from "../framework/device/kernel.ts";
import { nthLargest } from "./shared/nthLargest.ts";
import { philox } from "./shared/philox.ts";

export interface SampleShape {
  [name: string]: boolean | string;
  dtype: Scalar;
  /** Takes the likeliest token, the lowest id among equals. */
  greedy: boolean;
  /** Whether `seen` is bound, and tokens in it are penalised. */
  penalty: boolean;
}

export interface SampleTuning {
  [name: string]: number;
  lanes: number;
}

/** What `token` holds where the logits are NaN, +Infinity or all −Infinity. */
export const NO_TOKEN = -1;

/**
 * Picks the next token of each row by its logits [batch, vocabulary]: repetition penalty, temperature, top-k, then top-p over what is
 * left; one token at least. The tokens in order of their logits (ties by id) are a line of which top-k, top-p and the draw each name a
 * point, found exactly: weights are 64-bit integers of 2⁻⁴⁰, so that the order of their sums does not matter. The draw is a
 * function of (seed, row, made[row]) alone. Then it moves the row on: `token` [batch], the row's place in `out` [steps, batch],
 * `lengths` and `made` one more, and the token's bit in `seen` [batch, ⌈vocabulary / 32⌉].
 * Fan et al. 2018, arXiv:1805.04833; Holtzman et al. 2019, arXiv:1904.09751; Keskar et al. 2019, arXiv:1909.05858
 */
export const sample = kernel<SampleShape, SampleTuning>({
  name: "sample",
  bindings: ({ penalty }) => ({
    logits: "read",
    token: "write",
    out: "write",
    lengths: "update",
    made: "update",
    ...(penalty ? { seen: "update" as const } : {}),
  }),
  types: ({ dtype }) => ({ logits: dtype, token: "i32", out: "i32", lengths: "i32", made: "u32", seen: "u32" }),
  uniforms: {
    batch: "u32",
    vocabulary: "u32",
    penalty: "f32",
    sharpness: "f32", // log2(e) / temperature
    topK: "u32", // 0: all
    topP: "u32", // in 2⁻³²; 0: all
    seedLow: "u32",
    seedHigh: "u32",
  },
  tuning: { lanes: [8, 16, 32, 64, 128, 256] },
  pick: (_, target: Target) => ({
    lanes: target.class === "software" && target.subgroupSize > 0 ? Math.max(8, target.subgroupSize) : 256,
  }),
  workgroups: (_, __, { batch }) => [batch],
  cost: (_, { batch, vocabulary }) => ({ flops: 0, bytes: 4 * batch * vocabulary }),
  wgsl: ({ greedy, penalty }, { lanes }) => `
    ${philox}
    var<workgroup> best: array<vec2u, ${lanes}>; // key, id

    // Unsigned integers in the order of the logits; -0 is 0, NaN is the largest.
    fn keyOf(row: u32, id: u32) -> u32 {
      var x = f32(logits[row * u.vocabulary + id]);
      ${penalty ? "if (((seen[row * ((u.vocabulary + 31u) / 32u) + id / 32u] >> (id % 32u)) & 1u) != 0u) { x = select(x * u.penalty, x / u.penalty, x > 0.0); }" : ""}
      let bits = bitcast<u32>(x);
      if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
      if ((bits << 1u) == 0u) { return 0x80000000u; }
      return bits ^ select(0x80000000u, 0xffffffffu, bits >> 31u == 1u);
    }
    ${greedy ? "" : nthLargest(lanes)}

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let row = group.x;
      var own = vec2u();
      for (var i = lane; i < u.vocabulary; i += ${lanes}u) {
        let key = keyOf(row, i);
        if (key > own.x) { own = vec2u(key, i); }
      }
      best[lane] = own;
      for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) {
          let other = best[lane + half];
          if (other.x > best[lane].x || (other.x == best[lane].x && other.y < best[lane].y)) { best[lane] = other; }
        }
      }
      let top = workgroupUniformLoad(&best[0]);
      let finite = top.x > 0x007fffffu && top.x < 0xff800000u;
      ${greedy ? "let picked = top.y;" : "var picked = top.y; if (finite) { picked = draw(row, lane, top.x, made[row]); }"}
      storageBarrier(); // all lanes have read what one changes
      if (lane > 0u) { return; }
      token[row] = select(${NO_TOKEN}, i32(picked), finite);
      let step = made[row];
      if ((step + 1u) * u.batch <= arrayLength(&out)) { out[step * u.batch + row] = token[row]; }
      made[row] = step + 1u;
      lengths[row] += 1;
      ${penalty ? "seen[row * ((u.vocabulary + 31u) / 32u) + picked / 32u] |= 1u << (picked % 32u);" : ""}
    }`,
});
