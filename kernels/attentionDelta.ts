import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";
import { type AttentionShape, attentionUniformTypes, rowAddress } from "./shared/attention.ts";

/**
 * What the gradients of {@link attention} need of every row of queries: `stats` [batch, heads, queries, 2] holds lse in powers of
 * two (so large where a row sees nothing that its weights come out as 0) and delta = Σ dO · o, of o's and dO's rows.
 * Dao 2023, arXiv:2307.08691, section 3.1
 */
export const attentionDelta = kernel<AttentionShape, { lanes: number }>({
  name: "attentionDelta",
  bindings: { o: "read", dO: "read", lse: "read", stats: "write" },
  types: ({ dtype }) => ({ o: `vec4<${dtype}>`, dO: `vec4<${dtype}>`, stats: "vec2f" }),
  uniforms: attentionUniformTypes,
  sizes: ["queries", "heads", "batch"],
  tuning: { lanes: [64, 32, 128, 256] },
  workgroups: (_, { lanes }, { batch, heads, queries }) => {
    const rows = batch * heads * queries;
    return rows === 0 ? [0] : linearWorkgroups(Math.ceil(rows / lanes));
  },
  cost: ({ headDim, dtype }, { batch, heads, queries }) => ({
    flops: 2 * batch * heads * queries * headDim,
    bytes: batch * heads * queries * (headDim * (dtype === "f16" ? 4 : 8) + 12),
  }),
  wgsl: ({ headDim }, { lanes }) => `
    @compute @workgroup_size(${lanes})
    fn main(${linearIndex.params}) {
      let zero = u.batch >> 31u; // keeps the loop rolled: unrolled it takes ten times as long to compile
      let i = ${linearIndex.group} * ${lanes}u + lane;
      if (i >= u.batch * u.heads * u.queries) { return; }
      let start = ${rowAddress("i / u.queries / u.heads", "i % u.queries", "i / u.queries % u.heads")};
      var sum = vec4f();
      for (var d = 0u; d < ${headDim / 4}u + zero; d++) { sum += vec4f(o[start + d]) * vec4f(dO[start + d]); }
      let level = select(lse[i] * 1.44269504, 1e30, lse[i] < -1e30);
      stats[i] = vec2f(level, dot(sum, vec4f(1.0)));
    }`,
});
