import { type AttentionCall, attention, attentionLaunch } from "../../kernels/attention.ts";
import { attentionDelta } from "../../kernels/attentionDelta.ts";
import { attentionGradientKV } from "../../kernels/attentionGradientKV.ts";
import { attentionGradientQ } from "../../kernels/attentionGradientQ.ts";
import { attentionSpans } from "../../kernels/attentionSpans.ts";
import { noGrad } from "../autograd/graph.ts";
import { op } from "../autograd/op.ts";
import type { View } from "../device/bindings.ts";
import { ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { contiguous, sameShape, showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { fill } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { eq, mul, where } from "./pointwise.ts";
import { expand, reshape, slice, transpose } from "./shape.ts";
import { softmax } from "./softmax.ts";

export interface AttentionOptions {
  /** Query t sees keys up to t + (S − T). */
  causal?: boolean;
  /** i32 [B, T]: packed documents; a query sees keys of its own segment only. Needs S = T. */
  segments?: Tensor;
  /** 1 / √D where silent. */
  scale?: number;
}

/** q [B, Hq, T, D], k and v [B, Hkv, S, D]: the definition in ops, with the [B, Hq, T, S] scores in memory. The oracle of the fused kernels. */
export function attentionNaive(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  { causal = false, segments, scale = 1 / Math.sqrt(q.dim(-1)) }: AttentionOptions = {},
): Tensor {
  const [batch, heads, queries] = q.shape;
  const keys = k.shape[2];
  const scores = mul(matmul(q, transpose(repeatHeads(k, heads))), scale);
  const masks = noGrad(() => [
    ...(causal ? [causalMask(queries, keys)] : []),
    ...(segments ? [eq(reshape(segments, [batch, 1, queries, 1]), reshape(segments, [batch, 1, 1, keys]))] : []),
  ]);
  const masked = masks.reduce((s, mask) => where(mask, s, -1e30), scores);
  return matmul(softmax(masked), repeatHeads(v, heads));
}

/** [B, Hkv, S, D] as [B, Hq, S, D]: each key head serves the query heads of its group. */
function repeatHeads(x: Tensor, heads: number): Tensor {
  const [batch, kvHeads, keys, dim] = x.shape;
  if (heads === kvHeads) return x;
  if (heads % kvHeads)
    throw new ShapeError(
      `attention: ${heads} query heads over ${kvHeads} key heads, expected a multiple (k is ${showShape(x.shape)})`,
    );
  return reshape(expand(reshape(x, [batch, kvHeads, 1, keys, dim]), [batch, kvHeads, heads / kvHeads, keys, dim]), [
    batch,
    heads,
    keys,
    dim,
  ]);
}

function causalMask(queries: number, keys: number): Tensor {
  const mask = Float32Array.from({ length: queries * keys }, (_, i) =>
    Number(i % keys <= Math.floor(i / keys) + keys - queries),
  );
  return Tensor.from(mask, { shape: [queries, keys] });
}

export interface FusedAttentionOptions extends AttentionOptions {
  /** "BTHD": the head axis stands third, as projections give it; "BHTD" (default): second, as in PyTorch. */
  layout?: "BHTD" | "BTHD";
  /** Uses the first so many keys of a longer buffer (a KV cache). */
  keys?: number;
  /** What {@link documentSpans} makes of `segments`, where several layers share it. */
  spans?: Tensor;
}

/**
 * torch.nn.functional.scaled_dot_product_attention, grouped-query and with packed documents, without the scores in memory for head
 * sizes up to 256 that are multiples of 4.
 * @param q [B, Hq, T, D]; k, v [B, Hkv, S, D], or as `layout` says
 * @throws ShapeError where heads, sizes or segments do not fit
 * Dao 2023, arXiv:2307.08691
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: FusedAttentionOptions = {},
): Tensor {
  const {
    layout = "BHTD",
    segments,
    keys = k.shape[layout === "BTHD" ? 1 : 2],
    causal = false,
    scale = 1 / Math.sqrt(q.dim(-1)),
  } = options;
  check(q, k, v, layout, keys, segments);
  const fused = q.dim(-1) % 4 === 0 && q.dim(-1) <= 256; // what the kernels take
  if (fused) {
    const spans = options.spans ?? (segments && documentSpans(segments));
    return flash(q, k, v, spans, { layout, keys, causal, scale });
  }
  const turn = (x: Tensor) => (layout === "BTHD" ? transpose(x, 1, 2) : x);
  const used = (x: Tensor) => (keys === x.shape[2] ? x : slice(x, 2, 0, keys));
  return turn(attentionNaive(turn(q), used(turn(k)), used(turn(v)), { causal, segments, scale }));
}

function check(q: Tensor, k: Tensor, v: Tensor, layout: "BHTD" | "BTHD", keys: number, segments?: Tensor): void {
  const [heads, kvHeads] = layout === "BTHD" ? [q.shape[2], k.shape[2]] : [q.shape[1], k.shape[1]];
  const queries = q.shape[layout === "BTHD" ? 1 : 2];
  const all = `q is ${showShape(q.shape)}, k ${showShape(k.shape)}, v ${showShape(v.shape)}`;
  if (q.rank !== 4 || k.rank !== 4 || !sameShape(k.shape, v.shape))
    throw new ShapeError(`attention: ${all}, expected four axes each, k and v alike`);
  if (q.shape[0] !== k.shape[0] || q.shape[3] !== k.shape[3])
    throw new ShapeError(`attention: batch or head size of queries and keys differ (${all})`);
  if (kvHeads === 0 || heads % kvHeads)
    throw new ShapeError(`attention: ${heads} query heads over ${kvHeads} key heads, expected a multiple (${all})`);
  if (segments && (segments.size !== q.shape[0] * queries || keys !== queries)) {
    throw new ShapeError(
      `attention: segments are ${showShape(segments.shape)}, expected [B, T] with as many keys as queries (${all})`,
    );
  }
}

/** For each token of packed rows [B, T] the first token of its document and the one behind its last: u32 [B, T, 2]. */
export function documentSpans(segments: Tensor): Tensor {
  const [batch, tokens] = segments.shape;
  const spans = Tensor.empty([batch, tokens, 2], "u32", "spans");
  gpu().launch(attentionSpans, { segments: segments.view(), spans: spans.view() }, {}, { batch, tokens });
  return spans;
}

export interface FlashOptions {
  layout: "BHTD" | "BTHD";
  keys: number;
  causal: boolean;
  scale: number;
}

/** The sizes and strides of a launch. */
function callOf(q: Tensor, k: Tensor, segments: boolean, { layout, keys, causal, scale }: FlashOptions): AttentionCall {
  const [token, head] = layout === "BTHD" ? [1, 2] : [2, 1];
  const strides = (x: Tensor) => {
    const own = contiguous(x.shape);
    return { batch: own[0], token: own[token], head: own[head] };
  };
  const sizes = {
    batch: q.shape[0],
    heads: q.shape[head],
    kvHeads: k.shape[head],
    headDim: q.shape[3],
    queries: q.shape[token],
    keys,
  };
  return { ...sizes, causal, segments, dtype: q.dtype, scale, q: strides(q), kv: strides(k) };
}

/** Launches the forward kernel: o as q lies, and lse [B, Hq, T]. */
export function attend(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  spans: Tensor | undefined,
  options: FlashOptions,
): { o: Tensor; lse: Tensor } {
  const call = callOf(q, k, spans !== undefined, options);
  const { shape, uniforms } = attentionLaunch(call);
  const o = Tensor.empty(q.shape, q.dtype, "attention");
  const lse = Tensor.empty([call.batch, call.heads, call.queries], "f32", "attention.lse");
  const views = { q: q.view(), k: k.view(), v: v.view(), o: o.view(), lse: lse.view() };
  gpu().launch(attention, spans ? { ...views, spans: spans.view() } : views, shape, uniforms);
  return { o, lse };
}

export interface Attended {
  q: Tensor;
  k: Tensor;
  v: Tensor;
  o: Tensor;
  lse: Tensor;
  spans: Tensor | undefined;
  options: FlashOptions;
}

/** Launches the gradients' kernels: fills dq, dk and dv, which lie as q, k and v do. */
export function attendGradient(
  dO: Tensor,
  { q, k, v, o, lse, spans, options }: Attended,
  { dq, dk, dv }: { dq: Tensor; dk: Tensor; dv: Tensor },
): void {
  const call = callOf(q, k, spans !== undefined, options);
  const { shape, uniforms } = attentionLaunch(call);
  const stats = Tensor.empty([call.batch, call.heads, call.queries, 2], "f32", "attention.stats");
  gpu().launch(attentionDelta, { o: o.view(), dO: dO.view(), lse: lse.view(), stats: stats.view() }, shape, uniforms);
  const common: Record<string, View> = { q: q.view(), k: k.view(), v: v.view(), dO: dO.view(), stats: stats.view() };
  if (spans) common.spans = spans.view();
  gpu().launch(attentionGradientQ, { ...common, dq: dq.view() }, shape, uniforms);
  gpu().launch(attentionGradientKV, { ...common, dk: dk.view(), dv: dv.view() }, shape, uniforms);
}

const flash = op("attention", {
  value(q: Tensor, k: Tensor, v: Tensor, spans: Tensor | undefined, options: FlashOptions) {
    const { o, lse } = attend(q, k, v, spans, options);
    return { y: o, saved: { q, k, v, o, lse, spans, options } };
  },
  gradient(dO, saved) {
    const { q, k, v, options } = saved;
    const whole = k.shape[options.layout === "BTHD" ? 1 : 2] === options.keys;
    const like = (x: Tensor) => Tensor.empty(x.shape, x.dtype, "attention.gradient");
    const [dq, dk, dv] = [like(q), ...[k, v].map((x) => (whole ? like(x) : fill(like(x), 0)))];
    attendGradient(dO, saved, { dq, dk, dv });
    return [dq, dk, dv, null];
  },
});
