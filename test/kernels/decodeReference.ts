import { type DecodeShape, type DecodeTuning, decodeAttention } from "../../kernels/decodeAttention.ts";
import { decodeCombine } from "../../kernels/decodeCombine.ts";
import { noise, runKernel, worst } from "./launch.ts";

export interface Decode {
  lengths: readonly number[];
  capacity: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  dtype?: "f32" | "f16";
  span?: number;
  scale?: number;
}

interface Inputs {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
}

/** The definition, in float64: each row's query over its first lengths + 1 keys. */
function reference({ lengths, capacity, heads, kvHeads, headDim, scale = 1 }: Decode, { q, k, v }: Inputs) {
  const o = new Float64Array(q.length);
  for (let n = 0; n < lengths.length * heads; n++) {
    const [row, head] = [Math.floor(n / heads), n % heads];
    const at = (s: number) => ((row * capacity + s) * kvHeads + Math.floor((head * kvHeads) / heads)) * headDim;
    const keys = Array.from({ length: Math.min(lengths[row] + 1, capacity) }, (_, s) => s);
    const inner = (s: number) =>
      q.subarray(n * headDim, (n + 1) * headDim).reduce((sum, x, d) => sum + x * k[at(s) + d], 0);
    const scores = keys.map((s) => scale * inner(s));
    const top = Math.max(...scores);
    const total = scores.reduce((sum, x) => sum + Math.exp(x - top), 0);
    for (const s of keys)
      for (let d = 0; d < headDim; d++) o[n * headDim + d] += (Math.exp(scores[s] - top) / total) * v[at(s) + d];
  }
  return o;
}

/**
 * Launches the kernel, and the one that joins its spans where there are any; gives its output and the largest error.
 * What lies behind a row's keys is NaN.
 */
export async function decode(given: Decode, tuning?: DecodeTuning): Promise<{ error: number; o: Float32Array }> {
  const { lengths, capacity, heads, kvHeads, headDim, dtype = "f32", span = 0, scale = 1 } = given;
  const batch = lengths.length;
  const round = (x: Float32Array) => (dtype === "f16" ? Float32Array.from(Float16Array.from(x)) : x);
  const token = kvHeads * headDim;
  const cached = (seed: number) =>
    round(noise(batch * capacity * token, seed)).map((x, i) =>
      Math.floor(i / token) % capacity > lengths[Math.floor(i / token / capacity)] ? Number.NaN : 2 * x,
    );
  const inputs = { q: round(noise(batch * heads * headDim, 1)), k: cached(2), v: cached(3) };
  const stored = (x: Float32Array) => (dtype === "f16" ? new Uint16Array(Float16Array.from(x).buffer) : x);
  const shape: DecodeShape = { headDim, group: heads / kvHeads, dtype, span, source: "q", norm: false };
  const spans = span ? Math.ceil(capacity / span) : 1;
  const uniforms = { batch, kvHeads, heads, capacity, spans, scale, eps: 0 };
  const counts = Int32Array.from(lengths);
  const size = batch * heads * headDim;
  const arrays = { q: stored(inputs.q), k: stored(inputs.k), v: stored(inputs.v), lengths: counts };
  const empty = () => stored(new Float32Array(size));
  let { o } = span
    ? await (async () => {
        const more = { o: new Float32Array(size * spans), stats: new Float32Array(2 * batch * heads * spans) };
        const first = await runKernel(decodeAttention, { ...arrays, ...more }, ["o", "stats"], shape, uniforms, tuning);
        const all = { parts: first.o, stats: first.stats, lengths: counts, o: empty() };
        return runKernel(decodeCombine, all, ["o"], { headDim, dtype, span }, uniforms);
      })()
    : await runKernel(decodeAttention, { ...arrays, o: empty() }, ["o"], shape, uniforms, tuning);
  if (dtype === "f16") o = Float32Array.from(new Float16Array(o.buffer));
  return { error: worst(o.subarray(0, size), reference(given, inputs)), o };
}
