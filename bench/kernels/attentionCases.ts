import type { Kernel, Tuning } from "../../framework/device/kernel.ts";
import { type AttentionCall, type AttentionShape, attentionLaunch } from "../../kernels/attention.ts";
import { type KernelCase, kernelCase } from "../case.ts";

type Sizes = [batch: number, heads: number, kvHeads: number, queries: number, keys: number, headDim: number];

/** The tiny preset, MiniMind's layers over 512 tokens, a wide head; half precision and packed documents. */
const sizes: [Sizes, Partial<AttentionCall>?][] = [
  [[8, 4, 2, 128, 128, 32]],
  [[2, 8, 4, 512, 512, 64]],
  [[2, 8, 4, 512, 512, 64], { causal: false }],
  [[2, 8, 4, 512, 512, 64], { dtype: "f16" }],
  [[2, 8, 4, 512, 512, 64], { segments: true }],
  [[1, 8, 2, 512, 512, 128]],
];

/** micromind-26m's batch in training, whole and packed; wide heads over long texts. */
const large: typeof sizes = [
  [[32, 8, 2, 512, 512, 64], { dtype: "f16" }],
  [[32, 8, 2, 512, 512, 64], { dtype: "f16", segments: true }],
  [[4, 16, 16, 2048, 2048, 128], { dtype: "f16" }],
];

/** One token behind a cache of keys: what decoding runs. */
export const decoding: [Sizes][] = [[[1, 8, 4, 1, 512, 64]], [[1, 8, 2, 1, 2048, 64]], [[8, 8, 4, 1, 512, 64]]];

const DOCUMENT = 128; // tokens of a packed one

/** Cases of one of the attention kernels. The rate counts the pairs that see each other; packed documents as if they were one. */
export function attentionCases<T extends Tuning>(
  kernel: Kernel<AttentionShape, T>,
  cases: [Sizes, Partial<AttentionCall>?][] = [...sizes, ...large],
): KernelCase[] {
  return cases.map((item) => {
    const [[batch, heads, kvHeads, queries, keys, headDim], more = {}] = item;
    const spec: AttentionCall = {
      ...{ batch, heads, kvHeads, queries, keys, headDim, causal: true, segments: false, dtype: "f32" },
      scale: 1 / Math.sqrt(headDim),
      q: { batch: queries * heads * headDim, token: heads * headDim, head: headDim },
      kv: { batch: keys * kvHeads * headDim, token: kvHeads * headDim, head: headDim },
      ...more,
    };
    const { shape, uniforms } = attentionLaunch(spec);
    const element = spec.dtype === "f16" ? 2 : 4;
    const rows = batch * heads * queries;
    const [q, k] = [rows * headDim * element, batch * keys * kvHeads * headDim * element];
    const document = (i: number) => Math.floor((i % queries) / DOCUMENT) * DOCUMENT;
    const spans = Uint32Array.from({ length: 2 * batch * queries }, (_, i) =>
      i % 2 ? Math.min(document(i >> 1) + DOCUMENT, queries) : document(i >> 1),
    );
    const buffers = { q, k, v: k, o: q, lse: rows * 4, dO: q, stats: rows * 8, dq: q, dk: k, dv: k, spans };
    const kind = `${spec.causal ? "causal" : "full"}${spec.segments ? ", packed" : ""} ${spec.dtype}`;
    const label = `B ${batch}, H ${heads}/${kvHeads}, T ${queries}, S ${keys}, D ${headDim}, ${kind}`;
    return { ...kernelCase(kernel, label, shape, buffers, uniforms), heavy: large.includes(item) };
  });
}
