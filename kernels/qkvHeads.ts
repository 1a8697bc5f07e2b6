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

/**
 * From the joint projection qkv [tokens, heads + 2 · kvHeads, headDim] to what attention takes: q [tokens, heads, headDim], and k
 * and v [.., kvHeads, headDim]; q and k normalised by head (RMS, weights qNorm and kNorm [headDim]) and turned by the rotary
 * table [positions, headDim / 2, 2]. Token t of batch row b goes to row `b · capacity + start + t` of k and v, so that they may be a
 * cache; or to that of its position instead of `start + t`, where it is dropped past the capacity.
 * Zhang & Sennrich 2019, arXiv:1910.07467; Su et al. 2021, arXiv:2104.09864
 */
export const qkvHeads = kernel<HeadsShape, HeadsTuning>({
  name: "qkvHeads",
  bindings: ({ norm, rotary, positions, byPosition }) => ({
    qkv: "read",
    ...(norm ? { qNorm: "read" as const, kNorm: "read" as const } : {}),
    ...(rotary ? { table: "read" as const } : {}),
    ...(positions && (rotary || byPosition) ? { position: "read" as const } : {}),
    q: "write",
    k: "write",
    v: "write",
  }),
  types: ({ dtype }) => {
    const quad = `vec4<${dtype}>`;
    return { qkv: quad, q: quad, k: quad, v: quad, qNorm: "vec4f", kNorm: "vec4f", table: "vec4f", position: "i32" };
  },
  uniforms: { tokens: "u32", length: "u32", offset: "u32", capacity: "u32", start: "u32", eps: "f32" },
  sizes: ["tokens"],
  tuning: headsTuning,
  valid: validHeads,
  pick: pickHeads,
  workgroups: ({ heads, kvHeads }, { lanes, share }, { tokens }) => [
    Math.ceil((tokens * share) / lanes),
    heads + 2 * kvHeads,
  ],
  cost: ({ heads, kvHeads, headDim, dtype }, { tokens }) => ({
    flops: 8 * tokens * (heads + kvHeads) * headDim,
    bytes: 2 * (dtype === "f16" ? 2 : 4) * tokens * (heads + 2 * kvHeads) * headDim,
  }),
  wgsl: (shape, tuning) => {
    const { heads, kvHeads, headDim, norm, rotary, byPosition, dtype } = shape;
    const { lanes, share } = tuning;
    const [quads, half] = [headDim / 4, headDim / 8];
    const pairs = half / share;
    const write = (name: string, row: string) =>
      eachPair(
        shape,
        tuning,
        `${name}[(${row}) * ${quads}u + j] = vec4<${dtype}>(low[i]); ${name}[(${row}) * ${quads}u + j + ${half}u] = vec4<${dtype}>(high[i]);`,
      );
    const weigh = (name: string) =>
      norm ? eachPair(shape, tuning, `low[i] *= r * ${name}[j]; high[i] *= r * ${name}[j + ${half}u];`) : "";
    return `
    ${shareSum(tuning)}
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let zero = u.tokens >> 31u;
      let head = group.y;
      let own = group.x * ${lanes / share}u + lane / ${share}u;
      let token = min(own, u.tokens - 1u);
      let part = lane % ${share}u;
      let source = (token * ${heads + 2 * kvHeads}u + head) * ${quads}u;
      var low: array<vec4f, ${pairs}>;
      var high: array<vec4f, ${pairs}>;
      var squares = vec4f();
      ${eachPair(
        shape,
        tuning,
        `let a = vec4f(qkv[source + j]); let b = vec4f(qkv[source + j + ${half}u]); low[i] = a; high[i] = b; ${norm ? "squares += a * a + b * b;" : ""}`,
      )}
      ${norm ? `let r = inverseSqrt(allSum(dot(squares, vec4f(1.0)), lane) / ${headDim}.0 + u.eps);` : ""}
      let place = ${byPosition ? "u32(position[token])" : "u.start + token % u.length"};
      let row = token / u.length * u.capacity + place;
      if (own >= u.tokens${byPosition ? ` || (head >= ${heads}u && place >= u.capacity)` : ""}) { return; }
      if (head >= ${heads + kvHeads}u) {
        ${write("v", `row * ${kvHeads}u + head - ${heads + kvHeads}u`)}
        return;
      }
      if (head < ${heads}u) { ${weigh("qNorm")} } else { ${weigh("kNorm")} }
      ${
        rotary
          ? `let at = ${positionOf(shape)};
      ${eachPair(shape, tuning, `${turn(shape, "")} let a = low[i]; let b = high[i]; low[i] = a * c - b * s; high[i] = b * c + a * s;`)}`
          : ""
      }
      if (head < ${heads}u) { ${write("q", `token * ${heads}u + head`)} } else { ${write("k", `row * ${kvHeads}u + head - ${heads}u`)} }
    }`;
  },
});
