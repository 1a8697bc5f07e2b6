import type { Tuning } from "../../framework/device/kernel.ts";
import { type AttentionCall, attention, attentionLaunch } from "../../kernels/attention.ts";
import { attentionDelta } from "../../kernels/attentionDelta.ts";
import { attentionGradientKV } from "../../kernels/attentionGradientKV.ts";
import { attentionGradientQ } from "../../kernels/attentionGradientQ.ts";
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
  const result = { o: make(q), lse: new Float64Array(batch * heads * queries), dq: make(q), dk: make(k), dv: make(v) };
  for (let row = 0; row < batch * heads * queries; row++) {
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

export type Errors = Record<"o" | "lse" | "dq" | "dk" | "dv", number>;
const MARGIN = 64; // elements behind every output that no launch may touch
const MARK = 7;

/**
 * Runs all kernels on noise and gives each output's largest error against float64; Infinity where a kernel wrote behind its
 * output's end. Tokens that only a cache's spare capacity holds are NaN in k and v.
 */
export async function errorsOf(
  spec: AttentionCall,
  segments?: Int32Array,
  tuning: { forward?: Tuning; gradientQ?: Tuning; gradientKV?: Tuning } = {},
): Promise<Errors> {
  const { batch, heads, queries, keys, dtype } = spec;
  const f16 = dtype === "f16";
  const rounded = (x: Float32Array) => (f16 ? Float32Array.from(Float16Array.from(x)) : x);
  const upload = (x: Float32Array) => (f16 ? new Uint16Array(Float16Array.from(x).buffer) : x);
  const qSize = batch * heads * queries * spec.headDim;
  const kvSize = batch * spec.kv.batch;
  const isSpare = (i: number) => {
    const { token, head } = spec.kv;
    const inner = i % spec.kv.batch;
    return (token > head ? Math.floor(inner / token) : Math.floor((inner % head) / token)) >= keys;
  };
  const cached = (seed: number) => rounded(noise(kvSize, seed)).map((x, i) => (isSpare(i) ? Number.NaN : x));
  const inputs: Inputs = {
    q: rounded(noise(qSize, 1)).map((x) => 2 * x),
    k: cached(2).map((x) => 2 * x),
    v: cached(3),
    dO: rounded(noise(qSize, 4)),
    segments,
  };
  const expected = reference(spec, inputs);
  const { shape, uniforms } = attentionLaunch(spec);
  const marked = (size: number) => new Float32Array(size + (size % 2) + MARGIN).fill(MARK);
  const [q, k, v, dO] = [inputs.q, inputs.k, inputs.v, inputs.dO].map(upload);
  const more: Record<string, Uint32Array> = segments ? { spans: spansOf(segments, queries) } : {};
  const { forward, gradientQ, gradientKV } = tuning;
  const rows = batch * heads * queries;

  const outputs = { o: upload(marked(qSize)), lse: marked(rows) };
  const value = await runKernel(
    attention,
    { q, k, v, ...outputs, ...more },
    ["o", "lse"],
    shape,
    uniforms,
    forward as never,
  );
  const o = f16 ? new Uint16Array(value.o.buffer) : value.o;
  const { stats } = await runKernel(
    attentionDelta,
    { o, dO, lse: value.lse, stats: marked(2 * rows) },
    ["stats"],
    shape,
    uniforms,
  );
  const before = { q, k, v, dO, stats, ...more };
  const { dq } = await runKernel(
    attentionGradientQ,
    { ...before, dq: upload(marked(qSize)) },
    ["dq"],
    shape,
    uniforms,
    gradientQ as never,
  );
  const { dk, dv } = await runKernel(
    attentionGradientKV,
    { ...before, dk: upload(marked(kvSize)), dv: upload(marked(kvSize)) },
    ["dk", "dv"],
    shape,
    uniforms,
    gradientKV as never,
  );
  const written = Object.entries({ o: value.o, lse: value.lse, dq, dk, dv }) as [keyof Errors, Float32Array][];
  return Object.fromEntries(
    written.map(([name, data]) => {
      const got = f16 && name !== "lse" ? Float32Array.from(new Float16Array(data.buffer)) : data;
      const wanted = expected[name];
      const compared = Array.from(wanted.keys()).filter(
        (i) => got[i] !== wanted[i] && !((name === "dk" || name === "dv") && isSpare(i)), // infinities have no difference
      );
      const error = worst(
        compared.map((i) => got[i]),
        compared.map((i) => wanted[i]),
      );
      return [name, got.subarray(wanted.length).every((x) => x === MARK) ? error : Number.POSITIVE_INFINITY];
    }),
  ) as Errors;
}
