import { kernel, type Scalar, type Target } from "../framework/device/kernel.ts";
import { attendFunction, type DecodeShape, type DecodeTuning } from "./shared/decodeAttend.ts";
import { columnStep, loaded, perLoad, shuffledSum } from "./shared/decodeProduct.ts";
import { meetFunction } from "./shared/meet.ts";

export interface DecodeLayerShape {
  [name: string]: number | string | boolean;
  /** Of a workgroup, which is one subgroup. */
  lanes: number;
  hidden: number;
  /** Of the MLP. */
  intermediate: number;
  kvHeads: number;
  /** Query heads per key head. */
  group: number;
  headDim: number;
  /** Of x, y and the cache. */
  dtype: Scalar;
  /** Of the matrices: f16 is read two to a word. */
  weights: Scalar;
  /** Whether queries and keys are normalised by head. */
  norm: boolean;
}

/** Sizes of the subgroups that the kernel is written for. */
export const LANES = [8, 16];

/** Where in the scratch buffer, in vectors of four, what passes between phases lies. */
export function scratchOf({ hidden, intermediate, kvHeads, group, headDim }: DecodeLayerShape) {
  const quads = (elements: number) => Math.ceil(elements / 4);
  const qkv = 0;
  const attended = quads((group + 2) * kvHeads * headDim);
  const h = attended + quads(group * kvHeads * headDim);
  const act = h + quads(hidden);
  return { qkv, attended, h, act, size: act + quads(intermediate) };
}

/** Loads of a weight in a lane's step: as many as fit where decoded instructions are kept. */
const loadsOf = (weights: Scalar, lanes: number) => (weights === "f16" ? lanes / 4 : lanes / 2);
const EACH = 2; // elements of a row that a lane hands round in a step

/** Whether a shape is one for this kernel, which walks rows and columns in whole steps. */
export function fitsLayer(shape: DecodeLayerShape, { sharedBytes }: Target): boolean {
  const { lanes, hidden, intermediate, kvHeads, group, headDim } = shape;
  const rows = [hidden, intermediate, group * kvHeads * headDim];
  const columns = [...rows, (group + 2) * kvHeads * headDim];
  const shared = 4 * (Math.max(...rows) + 2 * group * headDim + 4 * group * lanes);
  return (
    LANES.includes(lanes) &&
    rows.every((n) => n % (EACH * lanes) === 0) &&
    columns.every((n) => n % lanes === 0) &&
    headDim % 8 === 0 &&
    shared <= sharedBytes
  );
}

/**
 * A decoder layer for one token: x + attention(norm(x)), then + mlp(norm(x)), what `decodeLinear` and `decodeAttention` do in five launches, bit for
 * bit. Five phases, between which the workgroups wait for each other: as many as the driver runs side by side (`kernels/meet.ts`), each
 * with a share of a phase's columns, or of the key heads. A row to be multiplied is first put into shared memory, normalised.
 * There is no barrier: a workgroup is one subgroup, whose lanes a CPU's driver takes through each statement together, and where a kernel has
 * barriers it cuts the lanes' loops apart (twice the time). For CPUs only.
 * `w` holds the four matrices, `gains` the norms' weights, from where the uniforms say, in vectors; x, y [hidden]; `scratch`: see `scratchOf`.
 */
export const decodeLayer = kernel<DecodeLayerShape>({
  name: "decodeLayer",
  bindings: {
    ...{ x: "read", w: "read", gains: "read", table: "read", lengths: "read" },
    ...{ k: "update", v: "update", scratch: "update", met: "update", y: "write" },
  },
  types: ({ dtype, weights }) => ({
    ...{ x: `vec4<${dtype}>`, w: loaded(weights), gains: "vec4f", table: "vec4f", lengths: "i32" },
    ...{ k: `vec4<${dtype}>`, v: `vec4<${dtype}>`, scratch: `vec4<${dtype}>`, met: "atomic<u32>", y: dtype },
  }),
  uniforms: {
    ...{ groups: "u32", patience: "u32", batch: "u32", kvHeads: "u32", capacity: "u32", spans: "u32", scale: "f32" },
    ...{ eps: "f32", rowEps: "f32", atQkv: "u32", atOut: "u32", atGate: "u32", atDown: "u32" },
    ...{ atNorm: "u32", atMlpNorm: "u32", atQueryNorm: "u32", atKeyNorm: "u32" },
  },
  workgroups: (_, __, { groups }) => [groups],
  cost: ({ hidden, intermediate, kvHeads, group, headDim, weights }) => {
    const elements = hidden * ((2 * group + 2) * kvHeads * headDim + 3 * intermediate);
    return { flops: 2 * elements, bytes: elements * (weights === "f16" ? 2 : 4) };
  },
  wgsl: (shape) => {
    const { lanes, hidden, intermediate, kvHeads, group, headDim, dtype, weights } = shape;
    const heads = group * kvHeads * headDim;
    const { attended, h, act } = scratchOf(shape);
    const loads = loadsOf(weights, lanes);
    const step = columnStep(weights, loads, (i) => `w[line + at + ${i}u]`);
    const attention: DecodeShape = { headDim, group, dtype, span: 0, source: "qkv", norm: shape.norm };
    const tuning: DecodeTuning = { lanes, subgroup: 1, unroll: 0 };
    return `
    var<workgroup> row: array<vec2f, ${Math.max(hidden, intermediate, heads) / EACH}>;
    ${meetFunction}
    ${attendFunction(attention, tuning, {
      qkv: (i) => `scratch[${i}]`,
      qNorm: (i) => `gains[u.atQueryNorm + ${i}]`,
      kNorm: (i) => `gains[u.atKeyNorm + ${i}]`,
      lockstep: true,
      store: (place, value) => `scratch[${attended}u + ${place}] = ${value};`,
    })}
    fn kept(at: u32, column: u32) -> f32 { return f32(scratch[at + column / 4u][column % 4u]); }
    fn keep(at: u32, column: u32, value: f32) { scratch[at + column / 4u][column % 4u] = ${dtype}(value); }

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) own: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
      for (var phase = 0u; phase < 5u + (u.spans >> 31u); phase++) {
        if (phase > 0u) { meet(lane, u.groups, u.patience); }
        if (phase == 1u) {
          for (var head = own.x; head < ${kvHeads}u; head += u.groups) { attend(vec3u(0u, head, 0u), lane); }
          continue;
        }
        var k = ${hidden}u; var n = ${hidden}u; var halves = 1u; var matrix = u.atQkv; var source = ${h}u; var gain = u.atNorm;
        switch phase {
          case 0u: { n = ${(group + 2) * kvHeads * headDim}u; }
          case 2u: { k = ${heads}u; source = ${attended}u; matrix = u.atOut; }
          case 3u: { n = ${intermediate}u; halves = 2u; matrix = u.atGate; gain = u.atMlpNorm; }
          default: { k = ${intermediate}u; source = ${act}u; matrix = u.atDown; }
        }
        let normed = phase == 0u || phase == 3u;
        var squares = 0.0;
        for (var i = lane; i < k / 4u; i += ${lanes}u) {
          var quad: vec4f;
          if (phase == 0u) { quad = vec4f(x[i]); } else { quad = vec4f(scratch[source + i]); }
          if (normed) { squares += dot(quad, quad); quad *= gains[gain + i]; }
          row[2u * i] = quad.xy;
          row[2u * i + 1u] = quad.zw;
        }
        ${shuffledSum("squares", lanes)}
        let factor = select(1.0, inverseSqrt(squares / f32(k) + u.rowEps), normed);
        let length = k / ${perLoad(weights)}u; // of a matrix' row, in loads
        let tiles = n / ${lanes}u;
        let share = (tiles + u.groups - 1u) / u.groups;
        let begin = min(own.x * share, tiles);
        let many = min(begin + share, tiles) - begin;
        for (var c = 0u; c < many; c++) {
          let column = begin * ${lanes}u + lane * many + c; // a lane's columns lie one behind the other, as memory is fetched
          var gate = 0.0; var sum = 0.0;
          for (var half = 0u; half < halves; half++) {
            let line = matrix + (half * n + column) * length;
            gate = sum; sum = 0.0;
            for (var at = 0u; at < length; at += ${loads}u) {
              let y = row[at * ${perLoad(weights) / EACH}u + lane];
              ${step}
            }
          }
          switch phase {
            case 0u: { keep(0u, column, sum * factor); }
            case 2u: { keep(${h}u, column, sum + f32(x[column / 4u][column % 4u])); }
            case 3u: { gate *= factor; keep(${act}u, column, gate / (1.0 + exp(-gate)) * sum * factor); }
            default: { y[column] = ${dtype}(sum + kept(${h}u, column)); }
          }
        }
      }
      if (atomicAdd(&met[2], 0u) > 0u) { y[lane] = ${dtype}(bitcast<f32>(0x7fc00000u | u.spans)); } // somebody waited in vain: no number is right
    }`;
  },
});
