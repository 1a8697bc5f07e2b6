import type { Scalar, Target, Tuning, Uniforms } from "../../framework/device/kernel.ts";
import { fits, type Uses } from "./attentionBlock.ts";
import { matrixUnits, targetUnit, unitOf } from "./matrixUnits.ts";

/** Elements from one batch row, token and head to the next; a head's elements stand side by side. */
export interface AttentionStrides {
  batch: number;
  token: number;
  head: number;
}

/**
 * One attention, as all of its kernels take it: q and o [batch, queries, heads, headDim], k and v [batch, keys, kvHeads, headDim]
 * in any order of the outer axes, as `q` and `kv` say (gradients lie as what they are gradients of).
 */
export interface AttentionCall {
  batch: number;
  heads: number;
  /** Divides `heads`; each key head serves a group of query heads. */
  kvHeads: number;
  /** 4 to 256, a multiple of four. */
  headDim: number;
  queries: number;
  keys: number;
  /** Query t sees keys up to t + (keys − queries). */
  causal: boolean;
  /** Whether `spans` is bound: a query sees the keys of its own document only. Needs keys = queries. */
  segments: boolean;
  dtype: Scalar;
  /** Of the products of q and k; usually 1 / √headDim. */
  scale: number;
  q: AttentionStrides;
  kv: AttentionStrides;
}

/** What is compiled in. Lengths and strides are uniforms, so that one pipeline serves all. */
export interface AttentionShape {
  [name: string]: string | boolean | number;
  headDim: number;
  /** Query heads per key head. Rows of a tile are the group's heads of one token after another, so that they share keys. */
  group: number;
  causal: boolean;
  segments: boolean;
  dtype: Scalar;
  /** Where a group has few rows of queries, 1, 2, 4 or 8 that hold them, as in decoding; otherwise 0. */
  few: number;
  /** Whether all rows begin at multiples of eight elements, of f16. */
  eight: boolean;
}

/** Points on matrix units have two parameters more: `block`, rows that pass by at a time, and `unit`, the adapter's `unitCode`. */
export interface AttentionTuning extends Tuning {
  /** 0: a subgroup's lanes hand operands round. 1: tiles in shared memory. 2: matrix units. */
  variant: number;
  /** Rows that a workgroup keeps. */
  rows: number;
  /** Lanes of a workgroup; in variant 0 the adapter's subgroup. */
  lanes: number;
}

/** Rows that pass by at a time in the tiled variants. Lanes stand 8 wide and have four rows of each side. */
export const TILE = 32;
const tileLanes = (rows: number) => 2 * rows;

/** Vectors of the tiled variants' stage: four of every row, between two barriers. */
export const tileStage = (rows: number) => Math.max(256, 4 * (rows + TILE));
/** What the tiled variants have in shared memory: the stage, weights of passing and own rows, a vector a lane. */
const tileBytes = (rows: number) => 16 * (tileStage(rows) + (TILE * rows) / 4 + tileLanes(rows));

/** `rows` of subgroups that hand operands round. */
export const attentionTuning = (rows: number[]) => [
  { variant: [0], rows, lanes: [8, 4, 16, 32] },
  ...[32, 16, 64].map((tile) => ({ variant: [1], rows: [tile], lanes: [tileLanes(tile)] })),
  { variant: [2], rows: [64, 32], lanes: [128, 64, 256, 32], block: [64, 32, 16], unit: matrixUnits },
];

/** What q, k, v and all that lies as they do are bound as: eights on matrix units, else fours. */
export const boundAs = (dtype: Scalar, variant: number): string => (variant === 2 ? "halves8" : `vec4<${dtype}>`);

/** What the variants on matrix units have in shared memory: forward, dq, dk and dv. */
export const forwardUses: Uses = { slices: 1, scratches: 1, weights: 1 };
export const gradientQUses: Uses = { slices: 2, scratches: 2, weights: 1 };
export const gradientKVUses: Uses = { slices: 2, scratches: 2, weights: 2 };

export const validAttention = (uses: Uses) => (shape: AttentionShape, tuning: AttentionTuning, target: Target) => {
  const { variant, rows, lanes, block, unit } = tuning;
  if (variant === 2) {
    const possible = unit > 0 && unit === targetUnit(target) && block > 0;
    return possible && shape.eight && shape.headDim <= 128 && fits(shape, tuning, uses, target.sharedBytes);
  }
  if (variant === 1) return lanes === tileLanes(rows) && tileBytes(rows) <= target.sharedBytes;
  return target.subgroups && target.subgroupSize === lanes;
};

/** Rows of a subgroup: measured best for 32, 64 and 128, and as many sums for wider heads. */
const rowsOf = (headDim: number): number => (headDim <= 128 ? 32 : 16);

/**
 * Rows that pass by at a time, at most, where what a subgroup keeps is to fit into its registers, as Mesa compiles it for NVIDIA's Hopper
 * and for AMD's RDNA 3, whose units hold operands twice (its subgroups are of the size that is asked for; the same suits whoever else asks).
 */
function mostPassing({ slices, weights }: Uses, headDim: number, { subgroupControl, ...target }: Target): number {
  const more = slices + weights - 2;
  if (subgroupControl) return 64 >> (headDim > 64 ? more + 1 : more);
  const { lanes, m } = unitOf(targetUnit(target));
  return headDim > 96 ? Math.max(16, (8 * lanes) / m, 32 >> more) : 64; // a row's lanes have eight each, at least
}

/** On a CPU the fewest loads per multiplication win: rows in registers. On a GPU matrix units for f16, else shared memory and more lanes. */
export const pickAttention =
  (uses: Uses) =>
  (shape: AttentionShape, target: Target): AttentionTuning => {
    const { headDim, few } = shape;
    const { subgroupSize: lanes } = target;
    if (target.class === "software" && target.subgroups && lanes >= 4 && lanes <= 32)
      return { variant: 0, rows: few || rowsOf(headDim), lanes };
    const unit = few ? 0 : targetUnit(target);
    const blocks = [64, 32, 16].filter((block) => block <= mostPassing(uses, headDim, target));
    for (const subgroups of unit ? [4, 2] : [])
      for (const block of blocks) {
        const tuning = { variant: 2, rows: subgroups * unitOf(unit).m, lanes: subgroups * lanes, block, unit };
        if (validAttention(uses)(shape, tuning, target)) return tuning;
      }
    return { variant: 1, rows: TILE, lanes: tileLanes(TILE) };
  };

/** Strides are in vectors of four elements. */
export const attentionUniformTypes = {
  queries: "u32",
  keys: "u32",
  heads: "u32",
  batch: "u32",
  qBatch: "u32",
  qToken: "u32",
  qHead: "u32",
  kvBatch: "u32",
  kvToken: "u32",
  kvHead: "u32",
  scale: "f32",
} as const;

/**
 * The shape and the uniforms that all attention kernels take for a call.
 * @throws RangeError where sizes or strides are none that the kernels serve, with what to do
 * @throws TypeError where the dtype is neither f32 nor f16
 */
export function attentionLaunch(call: AttentionCall): { shape: AttentionShape; uniforms: Uniforms } {
  const { batch, heads, kvHeads, headDim, queries, keys, causal, segments, dtype, scale, q, kv } = call;
  const sizes = { batch, heads, kvHeads, headDim, queries, keys };
  for (const name in sizes) {
    const value = sizes[name as keyof typeof sizes];
    if (!Number.isInteger(value) || value < 0)
      throw new RangeError(`attention: ${name} is ${value}, expected a whole number from 0`);
  }
  if (dtype !== "f32" && dtype !== "f16")
    throw new TypeError(`attention: q, k and v are ${dtype}, expected f32 or f16; cast them first`);
  if (headDim % 4 || headDim < 4 || headDim > 256)
    throw new RangeError(`attention: headDim is ${headDim}, expected a multiple of 4 from 4 to 256; pad it with zeros`);
  if (kvHeads === 0 || heads % kvHeads)
    throw new RangeError(`attention: ${heads} query heads over ${kvHeads} key heads, expected a multiple`);
  if (segments && keys !== queries)
    throw new RangeError(`attention: ${queries} queries and ${keys} keys with segments, expected as many of both`);
  const strides = {
    qBatch: q.batch,
    qToken: q.token,
    qHead: q.head,
    kvBatch: kv.batch,
    kvToken: kv.token,
    kvHead: kv.head,
  };
  for (const name in strides) {
    const value = strides[name as keyof typeof strides];
    if (!Number.isInteger(value) || value < 0 || value % 4)
      throw new RangeError(`attention: stride ${name} is ${value}, expected a multiple of 4; copy the tensor first`);
    strides[name as keyof typeof strides] = value / 4;
  }
  const group = heads / kvHeads;
  const few = [1, 2, 4, 8].find((rows) => queries * group <= rows) ?? 0;
  const eight = dtype === "f16" && [headDim / 4, ...Object.values(strides)].every((quads) => quads % 2 === 0);
  return {
    shape: { headDim, group, causal, segments, dtype, few, eight },
    uniforms: { queries, keys, heads, batch, ...strides, scale },
  };
}

/** Pairs of a query and a key that see each other, where documents are not packed, times the products that each pair takes. */
export function attentionFlops(products: number): (shape: AttentionShape, uniforms: Uniforms) => number {
  return ({ headDim, causal }, { queries, keys, heads, batch }) => {
    const first = keys - queries + 1; // what query 0 sees
    const hidden = Math.max(0, 1 - first); // queries that see nothing
    const pairs = causal ? ((queries - hidden) * (Math.max(first, 1) + keys)) / 2 : queries * keys;
    return 2 * products * batch * heads * pairs * headDim;
  };
}

/** Bytes of `qs` tensors like q and `kvs` like k. */
export function attentionBytes(qs: number, kvs: number): (shape: AttentionShape, uniforms: Uniforms) => number {
  return ({ headDim, dtype, group }, { queries, keys, heads, batch }) =>
    batch * heads * headDim * (dtype === "f16" ? 2 : 4) * (qs * queries + (kvs * keys) / group);
}

/** 0, 1, … count - 1 */
export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** WGSL: where a row of q begins, in vectors. */
export const rowAddress = (batch: string, token: string, head: string): string =>
  `${batch} * u.qBatch + ${token} * u.qToken + (${head}) * u.qHead`;

/**
 * WGSL that all variants share. Rows of queries are numbered token by token, and within a token head by head of the group:
 * `rowOf(n)` is where row n begins in q (in vectors), `statOf(n)` its place in lse and stats, `limitOf(n)` the key behind the last that it sees,
 * `lastLimit` that of the tile's last row, `lseOf` a row's logarithmic sum from its top, in powers of two, and its sum above that.
 */
export function addressing({ group, causal }: AttentionShape, rows: number): string {
  return `
    fn rowOf(n: u32, group: vec3u) -> u32 {
      return ${rowAddress("group.z", `n / ${group}u`, `group.y * ${group}u + n % ${group}u`)};
    }
    fn statOf(n: u32, group: vec3u) -> u32 {
      return (group.z * u.heads + group.y * ${group}u + n % ${group}u) * u.queries + n / ${group}u;
    }
    fn lseOf(top: f32, total: f32) -> f32 {
      if (total == 0.0) { return bitcast<f32>(0xff800000u | u32(total)); } // -Infinity can't be written as a constant
      return (top + log2(total)) * 0.69314718;
    }
    fn limitOf(n: u32) -> i32 {
      let all = ${causal ? `i32(n / ${group}u + u.keys) - i32(u.queries) + 1` : "i32(u.keys)"};
      return select(0, all, n < u.queries * ${group}u);
    }
    fn lastLimit(row: u32, count: u32) -> u32 {
      return u32(max(limitOf(min(row + ${rows - 1}u, count - 1u)), 0));
    }`;
}
