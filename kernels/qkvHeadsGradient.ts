import { kernel } from "../framework/device/kernel.ts";
import {
  eachPair,
  type HeadsShape,
  type HeadsTuning,
  headsTuning,
  pickHeads,
  positionOf,
  shareSum,
  turn,
  validHeads,
} from "./shared/heads.ts";

/** Tokens of a workgroup, which makes a row of partial sums for its head. */
export const TOKENS = 128;

/** Shared memory in which the rows' parts of the norms' gradients are joined, beside the one in which lanes sum a head. */
const joinedBytes = ({ norm, headDim }: HeadsShape, { lanes, share }: HeadsTuning) =>
  4 * lanes + (norm ? (4 * lanes * headDim) / share : 0);

/**
 * The gradient of {@link qkvHeads}, where k and v are not a cache. `grads` holds dq, dk and dv one behind the other, dk from vector
 * `kAt` on, dv from `vAt`. dqkv lies as qkv. `partial` [(heads + kvHeads) · ⌈tokens / {@link TOKENS}⌉, headDim] holds parts of the sums for qNorm's gradient, then
 * kNorm's, for `sumRows`.
 */
export const qkvHeadsGradient = kernel<HeadsShape, HeadsTuning>({
  name: "qkvHeadsGradient",
  bindings: ({ norm, rotary, positions }) => ({
    qkv: "read",
    grads: "read",
    ...(norm ? { qNorm: "read" as const, kNorm: "read" as const } : {}),
    ...(rotary ? { table: "read" as const } : {}),
    ...(rotary && positions ? { position: "read" as const } : {}),
    dqkv: "write",
    ...(norm ? { partial: "write" as const } : {}),
  }),
  types: ({ dtype }) => {
    const quad = `vec4<${dtype}>`;
    const f32 = { qNorm: "vec4f", kNorm: "vec4f", table: "vec4f", partial: "vec4f" };
    return { qkv: quad, grads: quad, dqkv: quad, ...f32, position: "i32" };
  },
  uniforms: { tokens: "u32", length: "u32", offset: "u32", kAt: "u32", vAt: "u32", eps: "f32" },
  sizes: ["tokens"],
  tuning: headsTuning,
  valid: (shape, tuning, { sharedBytes }) => validHeads(shape, tuning) && joinedBytes(shape, tuning) <= sharedBytes,
  pick: (shape, target) => {
    const tuning = pickHeads(shape, target);
    return joinedBytes(shape, tuning) <= target.sharedBytes ? tuning : { ...tuning, lanes: 8 };
  },
  workgroups: ({ heads, kvHeads }, _, { tokens }) => [Math.ceil(tokens / TOKENS), heads + 2 * kvHeads],
  cost: ({ heads, kvHeads, headDim, dtype }, { tokens }) => ({
    flops: 16 * tokens * (heads + kvHeads) * headDim,
    bytes: 3 * (dtype === "f16" ? 2 : 4) * tokens * (heads + 2 * kvHeads) * headDim,
  }),
  wgsl: (shape, tuning) => {
    const { heads, kvHeads, headDim, norm, rotary, dtype } = shape;
    const { lanes, share } = tuning;
    const [quads, half, rows] = [headDim / 4, headDim / 8, lanes / share];
    const pairs = half / share;
    const each = (body: string) => eachPair(shape, tuning, body);
    const list = (names: string) =>
      names
        .split(" ")
        .map((name) => `var ${name}: array<vec4f, ${pairs}>;`)
        .join(" ");
    const store = (low: string, high: string) =>
      each(`dqkv[source + j] = vec4<${dtype}>(${low}); dqkv[source + j + ${half}u] = vec4<${dtype}>(${high});`);
    const weighted = (name: string) =>
      each(`low[i] *= ${name}[j]; high[i] *= ${name}[j + ${half}u]; along += low[i] * nLow[i] + high[i] * nHigh[i];`);
    const normGradient = `
          var squares = vec4f();
          ${each(`let a = vec4f(qkv[source + j]); let b = vec4f(qkv[source + j + ${half}u]); nLow[i] = a; nHigh[i] = b; squares += a * a + b * b;`)}
          let r = inverseSqrt(allSum(dot(squares, vec4f(1.0)), lane) / ${headDim}.0 + u.eps);
          ${each("nLow[i] *= r; nHigh[i] *= r; sumLow[i] += low[i] * nLow[i]; sumHigh[i] += high[i] * nHigh[i];")}
          var along = vec4f();
          if (head < ${heads}u) { ${weighted("qNorm")} } else { ${weighted("kNorm")} }
          let mean = allSum(dot(along, vec4f(1.0)), lane) / ${headDim}.0;
          if (live) { ${store("r * (low[i] - nLow[i] * mean)", "r * (high[i] - nHigh[i] * mean)")} }`;
    return `
    ${shareSum(tuning)}
    ${norm ? `var<workgroup> joined: array<vec4f, ${rows * quads}>;` : ""}
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
      let zero = u.tokens >> 31u;
      let head = group.y;
      let part = lane % ${share}u;
      ${norm ? list("nLow nHigh sumLow sumHigh") : ""}
      ${list("low high")}
      for (var n = 0u; n < ${Math.ceil(TOKENS / rows)}u + zero; n++) {
        let own = group.x * ${TOKENS}u + n * ${rows}u + lane / ${share}u;
        let live = own < u.tokens${TOKENS % rows ? ` && n * ${rows}u + lane / ${share}u < ${TOKENS}u` : ""};
        let token = min(own, u.tokens - 1u);
        let source = (token * ${heads + 2 * kvHeads}u + head) * ${quads}u;
        var given = (token * ${heads}u + head) * ${quads}u;
        if (head >= ${heads}u) { given = u.kAt + (token * ${kvHeads}u + head - ${heads}u) * ${quads}u; }
        if (head >= ${heads + kvHeads}u) { given = u.vAt + (token * ${kvHeads}u + head - ${heads + kvHeads}u) * ${quads}u; }
        ${each(`low[i] = vec4f(grads[given + j]); high[i] = vec4f(grads[given + j + ${half}u]);`)}
        if (head >= ${heads + kvHeads}u) {
          if (live) { ${store("low[i]", "high[i]")} }
        } else {
          ${
            rotary
              ? `let at = ${positionOf(shape)};
          ${each(`${turn(shape, "-")} let a = low[i]; let b = high[i]; low[i] = a * c - b * s; high[i] = b * c + a * s;`)}`
              : ""
          }
          ${norm ? "if (!live) { " + each("low[i] = vec4f(); high[i] = vec4f();") + " }" + normGradient : `if (live) { ${store("low[i]", "high[i]")} }`}
        }
      }
      ${norm ? joinSums(shape, tuning) : ""}
    }`;
  },
});

/** The workgroup's sums, joined over the rows that its lanes walk side by side, to `partial`. */
function joinSums(shape: HeadsShape, tuning: HeadsTuning): string {
  const { heads, kvHeads, headDim } = shape;
  const rows = tuning.lanes / tuning.share;
  const quads = headDim / 4;
  return `
      if (head >= ${heads + kvHeads}u) { return; }
      ${eachPair(
        shape,
        tuning,
        `joined[lane / ${tuning.share}u * ${quads}u + j] = sumLow[i]; joined[lane / ${tuning.share}u * ${quads}u + j + ${headDim / 8}u] = sumHigh[i];`,
      )}
      workgroupBarrier();
      for (var q = lane; q < ${quads}u; q += ${tuning.lanes}u) {
        var sum = joined[q];
        for (var r = 1u; r < ${rows}u; r++) { sum += joined[r * ${quads}u + q]; }
        partial[(head * groups.x + group.x) * ${quads}u + q] = sum;
      }`;
}
