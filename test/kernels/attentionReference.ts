import type { Kernel, Tuning } from "../../framework/device/kernel.ts";
import { bindingsOf } from "../../framework/device/kernel.ts";
import { type AttentionCall, type AttentionShape, attentionLaunch } from "../../kernels/attention.ts";
import { noise, runKernel, worst } from "./launch.ts";

export type Sizes = [batch: number, heads: number, kvHeads: number, queries: number, keys: number, headDim: number];
export type Layout = "BTHD" | "BHTD";

/** A call on contiguous tensors; `spare` more tokens lie behind the keys of each batch row, as in a cache. */
export function call(
  sizes: Sizes,
  more: Partial<AttentionCall> = {},
  layout: Layout = "BTHD",
  spare = 0,
): AttentionCall {
  const [batch, heads, kvHeads, queries, keys, headDim] = sizes;
  const strides = (h: number, t: number) =>
    layout === "BTHD"
      ? { batch: t * h * headDim, token: h * headDim, head: headDim }
      : { batch: t * h * headDim, token: headDim, head: t * headDim };
  return {
    ...{ batch, heads, kvHeads, headDim, queries, keys, causal: false, segments: false, dtype: "f32" as const },
    ...{ scale: 1 / Math.sqrt(headDim), q: strides(heads, queries), kv: strides(kvHeads, keys + spare) },
    ...more,
  };
}

/** Spans of `segments` by their definition. */
export function spansOf(segments: Int32Array, tokens: number): Uint32Array {
  return Uint32Array.from({ length: 2 * segments.length }, (_, i) => {
    const row = segments.subarray(Math.floor(i / 2 / tokens) * tokens).subarray(0, tokens);
    const own = segments[i >> 1];
    return i % 2 ? row.lastIndexOf(own) + 1 : row.indexOf(own);
  });
}

export interface Inputs {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
  dO: Float32Array;
  segments?: Int32Array;
}

/** The definition and its gradients, in float64. */
export function reference(spec: AttentionCall, { q, k, v, dO, segments }: Inputs) {
  const { batch, heads, kvHeads, headDim, queries, keys, causal, scale } = spec;
  const make = (like: ArrayLike<number>) => new Float64Array(like.length);
  const rows = batch * heads * queries;
  const result = {
    o: make(q),
    lse: new Float64Array(rows),
    stats: new Float64Array(2 * rows),
    dq: make(q),
    dk: make(k),
    dv: make(v),
  };
  for (let row = 0; row < rows; row++) {
    const [b, h, t] = [Math.floor(row / heads / queries), Math.floor(row / queries) % heads, row % queries];
    const start = b * spec.q.batch + t * spec.q.token + h * spec.q.head;
    const keyHead = b * spec.kv.batch + Math.floor((h * kvHeads) / heads) * spec.kv.head;
    const seen = Array.from({ length: keys }, (_, s) => s).filter(
      (s) =>
        (!causal || s <= t + keys - queries) && (!segments || segments[b * queries + t] === segments[b * queries + s]),
    );
    const inner = (x: ArrayLike<number>, y: ArrayLike<number>, at: number) => {
      let sum = 0;
      for (let d = 0; d < headDim; d++) sum += x[start + d] * y[at + d];
      return sum;
    };
    const at = seen.map((s) => keyHead + s * spec.kv.token);
    const scores = at.map((key) => scale * inner(q, k, key));
    const top = Math.max(...scores);
    const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0);
    result.lse[row] = top + Math.log(total);
    const weights = scores.map((score) => Math.exp(score - result.lse[row]));
    const slopes = at.map((key) => inner(dO, v, key));
    const delta = weights.reduce((sum, weight, i) => sum + weight * slopes[i], 0);
    result.stats.set([seen.length ? result.lse[row] * Math.LOG2E : 1e30, delta], 2 * row);
    at.forEach((key, i) => {
      const slope = scale * weights[i] * (slopes[i] - delta);
      for (let d = 0; d < headDim; d++) {
        result.o[start + d] += weights[i] * v[key + d];
        result.dq[start + d] += slope * k[key + d];
        result.dk[key + d] += slope * q[start + d];
        result.dv[key + d] += weights[i] * dO[start + d];
      }
    });
  }
  return result;
}

const MARGIN = 64; // elements behind every output that no launch may touch
const MARK = 7;
const fullPrecision = ["lse", "stats"];

/**
 * Launches one of the attention kernels on noise, with what the others would hand it taken from float64, and gives the largest
 * error of its outputs; Infinity where it wrote behind an output's end. Tokens in a cache's spare capacity are NaN in k and v.
 */
export async function errorOf<T extends Tuning>(
  kernel: Kernel<AttentionShape, T>,
  spec: AttentionCall,
  { segments, tuning }: { segments?: Int32Array; tuning?: T } = {},
): Promise<number> {
  const { batch, heads, queries, keys, headDim } = spec;
  const rows = batch * heads * queries;
  const sizes = { q: rows * headDim, kv: batch * spec.kv.batch };
  const half = (name: string) => spec.dtype === "f16" && !fullPrecision.includes(name);
  const rounded = (x: Float32Array) => (spec.dtype === "f16" ? Float32Array.from(Float16Array.from(x)) : x);
  const isSpare = (i: number) => {
    const { batch: row, token, head } = spec.kv;
    const headsFirst = head * spec.kvHeads === row;
    return Math.floor((headsFirst ? i % head : i % row) / token) >= keys;
  };
  const cached = (seed: number, factor: number) =>
    rounded(noise(sizes.kv, seed)).map((x, i) => (isSpare(i) ? Number.NaN : factor * x));
  const inputs: Inputs = {
    q: rounded(noise(sizes.q, 1)).map((x) => 2 * x),
    k: cached(2, 2),
    v: cached(3, 1),
    dO: rounded(noise(sizes.q, 4)),
    segments,
  };
  const expected: Record<string, Float64Array> = reference(spec, inputs);
  const known: Record<string, ArrayLike<number>> = { ...inputs, ...expected };
  const more: Record<string, Uint32Array> = segments ? { spans: spansOf(segments, queries) } : {};
  const { shape, uniforms } = attentionLaunch(spec);

  const bindings = Object.entries(bindingsOf(kernel, shape)).filter(([name]) => name !== "spans");
  const arrays = bindings.map(([name, access]) => {
    const { length } = known[name];
    const marked = new Float32Array(length + (length % 2) + MARGIN).fill(MARK);
    const content = access === "read" ? Float32Array.from(known[name]) : marked;
    return [name, half(name) ? new Uint16Array(Float16Array.from(content).buffer) : content] as const;
  });
  const outputs = bindings.filter(([, access]) => access !== "read").map(([name]) => name);
  const written = await runKernel(kernel, { ...Object.fromEntries(arrays), ...more }, outputs, shape, uniforms, tuning);
  const errors = outputs.map((name) => {
    const got = half(name) ? Float32Array.from(new Float16Array(written[name].buffer)) : written[name];
    const wanted = expected[name];
    const compared = Array.from(wanted.keys()).filter(
      (i) => got[i] !== wanted[i] && !(/d[kv]/.test(name) && isSpare(i)), // infinities have no difference
    );
    const error = worst(
      compared.map((i) => got[i]),
      compared.map((i) => wanted[i]),
    );
    return got.subarray(wanted.length).every((x) => x === MARK) ? error : Number.POSITIVE_INFINITY;
  });
  return Math.max(...errors);
}

/** Whole tiles and broken ones, one token, primes, fewer queries than keys and more, queries that see nothing, none at all. */
export const lengths: [queries: number, keys: number][] = [
  [1, 1],
  [7, 7],
  [64, 64],
  [5, 37],
  [67, 31],
  [1, 61],
  [3, 0],
  [0, 3],
];

/** Documents of some lengths, in a row of 67 tokens; in the second row a document comes back. */
export const packed = Int32Array.from({ length: 2 * 67 }, (_, i) =>
  i < 67 ? Math.floor(i / 20) : Math.floor((i - 67) / 7) % 3,
);
