import { cacheAppend } from "../../kernels/cacheAppend.ts";
import { decodeAttention as attend, type DecodeShape } from "../../kernels/decodeAttention.ts";
import { decodeCombine } from "../../kernels/decodeCombine.ts";
import { ShapeError } from "../device/errors.ts";
import { expectDType } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import { expectShape, showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { fusesHeads, type HeadsOptions } from "./selfAttention.ts";

/** Keys and values of one layer [B, capacity, Hkv, D], f32 or f16, and how many tokens each row holds: i32 [B]. */
export interface CacheLayer {
  k: Tensor;
  v: Tensor;
  lengths: Tensor;
}

/**
 * Writes k and v [B, T, Hkv, D] behind what each row of the cache holds; `lengths` stays, and what finds no room is dropped.
 * @throws ShapeError, DTypeError where they do not fit the cache
 */
export function appendToCache(k: Tensor, v: Tensor, cache: CacheLayer): void {
  const [batch, tokens, heads, headDim] = k.shape;
  const [rows, capacity, ...token] = cache.k.shape;
  if (batch !== rows || heads !== token[0] || headDim !== token[1])
    throw new ShapeError(`cache: k is ${showShape(k.shape)}, the cache ${showShape(cache.k.shape)}`);
  expectShape("cache", "v", v.shape, k.shape);
  expectDType("cache", "k", k.dtype, [cache.k.dtype]);
  expectDType("cache", "v", v.dtype, [cache.k.dtype]);
  const wide = (heads * headDim) % 4 === 0;
  const size = (heads * headDim) / (wide ? 4 : 1);
  gpu().launch(
    cacheAppend,
    { k: k.view(), v: v.view(), lengths: cache.lengths.view(), cacheK: cache.k.view(), cacheV: cache.v.view() },
    { dtype: k.dtype, wide },
    { batch, tokens, size, capacity },
  );
}

const apart = { source: "q", norm: false } as const;

/** Keys of a workgroup where there are lanes to fill: one stream's heads alone are too few workgroups for a GPU. */
const SPAN = 256;

/**
 * Attention of each row's newest token, whose key the cache holds already, over that and all before: lengths[b] + 1 keys.
 * @param q    [B, 1, H, D], of the cache's dtype
 * @param span keys of a workgroup, a multiple of 256, or 0 for all of a row's; by the adapter where silent
 * @returns    [B, 1, H, D], q's dtype. No gradient.
 * @throws ShapeError, DTypeError where q does not fit the cache
 */
export function decodeAttention(
  q: Tensor,
  { k, v, lengths }: CacheLayer,
  { scale = 1 / Math.sqrt(q.dim(-1)), span = gpu().target.class === "software" ? 0 : SPAN } = {},
): Tensor {
  const [batch, tokens, heads, headDim] = q.shape;
  const [rows, capacity, kvHeads, keyDim] = k.shape;
  if (q.rank !== 4 || tokens !== 1 || batch !== rows || headDim !== keyDim || heads % kvHeads)
    throw new ShapeError(
      `decodeAttention: q is ${showShape(q.shape)}, expected [B, 1, H, D] with the cache's B and D and a multiple of its heads (k is ${showShape(k.shape)})`,
    );
  expectDType("decodeAttention", "q", q.dtype, [k.dtype]);
  const y = Tensor.empty(q.shape, q.dtype, "decodeAttention");
  const spans = span ? Math.ceil(capacity / span) : 1;
  const whole = spans === 1;
  const shape: DecodeShape = { headDim, group: heads / kvHeads, dtype: q.dtype, span: whole ? 0 : span, ...apart };
  const uniforms = { batch, kvHeads, capacity, spans, scale, eps: 0 };
  const views = { q: q.view(), k: k.view(), v: v.view(), lengths: lengths.view() };
  if (whole) {
    gpu().launch(attend, { ...views, o: y.view() }, shape, uniforms);
    return y;
  }
  const parts = Tensor.empty([batch, heads, spans, headDim], "f32", "decodeAttention.parts");
  const stats = Tensor.empty([batch, heads, spans, 2], "f32", "decodeAttention.stats");
  gpu().launch(attend, { ...views, o: parts.view(), stats: stats.view() }, shape, uniforms);
  gpu().launch(
    decodeCombine,
    { parts: parts.view(), stats: stats.view(), lengths: views.lengths, o: y.view() },
    { headDim, dtype: q.dtype, span },
    { batch, heads, capacity, spans },
  );
  parts.dispose();
  stats.dispose();
  return y;
}

/**
 * A new token's queries, key and value out of their joint projection, and its attention, in one launch: what `splitHeads` and
 * {@link decodeAttention} do in two, where a CPU's launches take longer than their work. No gradient.
 * @param qkv [B, 1, (H + 2 · Hkv) · D], of the cache's dtype; the token stands at its row's `lengths`
 * @returns   [B, 1, H · D], or nothing where the adapter or the sizes call for two
 */
export function decodeHeads(
  qkv: Tensor,
  { kvHeads, qNorm, kNorm, eps = 1e-6, table }: HeadsOptions,
  { k, v, lengths }: CacheLayer,
): Tensor | undefined {
  const { target } = gpu();
  const [batch, capacity, , headDim] = k.shape;
  const lanes = target.class === "software" && target.subgroups && target.subgroupSize >= 4;
  if (!lanes || !table || qkv.dtype !== k.dtype || !fusesHeads(headDim)) return undefined;
  const group = qkv.dim(-1) / headDim / kvHeads - 2;
  const norm = qNorm !== undefined && kNorm !== undefined;
  const shape: DecodeShape = { headDim, group, dtype: qkv.dtype, span: 0, source: "qkv", norm };
  const y = Tensor.empty([batch, 1, group * kvHeads * headDim], qkv.dtype, "decodeHeads");
  const views = {
    ...{ qkv: qkv.view(), table: table.view(), k: k.view(), v: v.view(), lengths: lengths.view(), o: y.view() },
    ...(norm ? { qNorm: qNorm.view(), kNorm: kNorm.view() } : {}),
  };
  gpu().launch(attend, views, shape, { batch, kvHeads, capacity, spans: 1, scale: 1 / Math.sqrt(headDim), eps });
  return y;
}
