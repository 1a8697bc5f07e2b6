import { qkvHeads } from "../../kernels/qkvHeads.ts";
import { qkvHeadsGradient, TOKENS } from "../../kernels/qkvHeadsGradient.ts";
import type { HeadsShape } from "../../kernels/shared/heads.ts";
import { op } from "../autograd/op.ts";
import type { View } from "../device/bindings.ts";
import { ShapeError } from "../device/errors.ts";
import type { Uniforms } from "../device/kernel.ts";
import { gpu } from "../tensor/engine.ts";
import { expectShape, showShape } from "../tensor/shape.ts";
import { aligned, Tensor } from "../tensor/tensor.ts";
import { attend, attendGradient } from "./attention.ts";
import { expectFloat } from "./elementwise.ts";
import { joinRows } from "./norm.ts";
import { checkPositions } from "./rope.ts";

export interface HeadsOptions {
  heads: number;
  kvHeads: number;
  /** RMS norm of each head's queries and keys: weights f32 [D], and epsilon. */
  qNorm?: Tensor;
  kNorm?: Tensor;
  eps?: number;
  /** Rotary table f32 [positions, D / 2, 2]; see `rope`. */
  table?: Tensor;
  /** i32 [B, T]; otherwise token t stands at `offset + t`. */
  positions?: Tensor;
  offset?: number;
}

export interface SelfAttentionOptions extends HeadsOptions {
  causal?: boolean;
  /** Packed documents, as `documentSpans` makes them. */
  spans?: Tensor;
}

/** Where keys and values by head go: caches [B, capacity, Hkv, D], and the row of each batch row's first token in them. */
export interface HeadsPlace {
  k: Tensor;
  v: Tensor;
  /** The row, of all batch rows. */
  start: number;
  /** Each token goes to the row of its position instead; what lies past the capacity is dropped. */
  byPosition: boolean;
}

/** Whether the fused kernels take heads of this size. */
export const fusesHeads = (headDim: number): boolean => headDim % 8 === 0 && headDim <= 256;

/** Sizes, shape and uniforms that the kernels between projection and attention take. */
function callOf(
  qkv: Tensor,
  { heads, kvHeads, qNorm, kNorm, eps = 1e-6, table, positions, offset = 0 }: HeadsOptions,
  byPosition = false,
) {
  const [batch, length, width] = qkv.shape;
  const headDim = width / (heads + 2 * kvHeads);
  if (qkv.rank !== 3 || !fusesHeads(headDim) || heads % kvHeads)
    throw new ShapeError(
      `selfAttention: qkv is ${showShape(qkv.shape)}, expected [B, T, (${heads} + 2 · ${kvHeads}) · D], D a multiple of 8 up to 256, heads of kvHeads`,
    );
  for (const [name, weight] of Object.entries({ qNorm, kNorm }))
    if (weight) expectShape("selfAttention", name, weight.shape, [headDim]);
  if (table) checkPositions("selfAttention", [batch, length, heads, headDim], table, { positions, offset });
  const views: Record<string, View> = { qkv: qkv.view() };
  if (qNorm && kNorm) Object.assign(views, { qNorm: qNorm.view(), kNorm: kNorm.view() });
  if (table) views.table = table.view();
  if ((table || byPosition) && positions) views.position = positions.view();
  const kinds = { norm: !!(qNorm && kNorm), rotary: !!table, positions: !!positions, byPosition };
  const shape: HeadsShape = { heads, kvHeads, headDim, ...kinds, dtype: qkv.dtype };
  const uniforms: Uniforms = { tokens: batch * length, length, offset, eps };
  return { batch, length, headDim, views, shape, uniforms };
}

/**
 * Queries, keys and values by head out of their joint projection: q [B, T, Hq, D], k and v [B, T, Hkv, D]. Outside the graph. With
 * `into` k and v are written there.
 */
export function splitHeads(qkv: Tensor, options: HeadsOptions, into?: HeadsPlace): { q: Tensor; k: Tensor; v: Tensor } {
  const { batch, length, headDim, views, shape, uniforms } = callOf(qkv, options, into?.byPosition);
  const make = (count: number, name: string) => Tensor.empty([batch, length, count, headDim], qkv.dtype, name);
  const q = make(options.heads, "q");
  const { k, v, start } = into ?? { k: make(options.kvHeads, "k"), v: make(options.kvHeads, "v"), start: 0 };
  const all = { ...views, q: q.view(), k: k.view(), v: v.view() };
  gpu().launch(qkvHeads, all, shape, { ...uniforms, capacity: k.shape[1], start });
  return { q, k, v };
}

/**
 * Self-attention from the joint projection of queries, keys and values: norms of q and k, rotary positions, grouped-query attention.
 * @param qkv [B, T, (Hq + 2 · Hkv) · D], f32 or f16: q's heads, then k's, then v's
 * @returns   [B, T, Hq · D], qkv's dtype
 * @throws ShapeError where heads, norms, table or positions do not fit
 */
export function selfAttention(qkv: Tensor, options: SelfAttentionOptions): Tensor {
  const { heads, kvHeads, qNorm, kNorm, eps, table, positions, offset, spans, causal } = options;
  return fused(qkv, qNorm, kNorm, table, positions, spans, { heads, kvHeads, eps, offset, causal });
}

const fused = op("selfAttention", {
  value(
    qkv: Tensor,
    qNorm: Tensor | undefined,
    kNorm: Tensor | undefined,
    table: Tensor | undefined,
    positions: Tensor | undefined,
    spans: Tensor | undefined,
    options: Pick<SelfAttentionOptions, "heads" | "kvHeads" | "eps" | "offset" | "causal">,
  ) {
    expectFloat("selfAttention", qkv, "qkv");
    const { q, k, v } = splitHeads(qkv, { ...options, qNorm, kNorm, table, positions });
    const [batch, length, heads, headDim] = q.shape;
    const { causal = false } = options;
    const flash = { layout: "BTHD", keys: length, causal, scale: 1 / Math.sqrt(headDim) } as const;
    const { o, lse } = attend(q, k, v, spans, flash);
    const saved = { qkv, q, k, v, o, lse, spans, flash, qNorm, kNorm, table, positions, options };
    return { y: o.alias([batch, length, heads * headDim]), saved };
  },
  gradient(dy, { flash, options, ...saved }, { needs, into }) {
    const { q, k, v, o, lse, spans, qkv, qNorm, kNorm, table, positions } = saved;
    const { views, shape, uniforms } = callOf(qkv, { ...options, qNorm, kNorm, table, positions });
    // One buffer for the three, so that the kernel behind binds one.
    const [kAt, vAt] = [aligned(q.size), aligned(q.size) + aligned(k.size)];
    const grads = Tensor.empty([vAt + aligned(v.size)], qkv.dtype, "selfAttention.heads");
    const parts = { dq: grads.window(0, q.shape), dk: grads.window(kAt, k.shape), dv: grads.window(vAt, v.shape) };
    attendGradient(dy.alias(q.shape), { q, k, v, o, lse, spans, options: flash }, parts);

    const dqkv = Tensor.empty(qkv.shape, qkv.dtype, "selfAttention.dqkv");
    const groups = Math.ceil(uniforms.tokens / TOKENS);
    const rows = (shape.heads + shape.kvHeads) * groups;
    const partial = shape.norm ? Tensor.empty([rows, shape.headDim], "f32", "selfAttention.dnorm") : undefined;
    const outputs = { grads: grads.view(), dqkv: dqkv.view(), ...(partial ? { partial: partial.view() } : {}) };
    gpu().launch(qkvHeadsGradient, { ...views, ...outputs }, shape, { ...uniforms, kAt: kAt / 4, vAt: vAt / 4 });
    const dnorm = (i: number, start: number, count: number) =>
      partial && needs(i) ? joinRows(partial, [shape.headDim], into(i), { start, rows: count }) : null;
    const [queries, keys] = [shape.heads * groups, shape.kvHeads * groups];
    const norms = shape.norm ? [dnorm(1, 0, queries), dnorm(2, queries, keys)] : [];
    return [dqkv, ...norms];
  },
});
