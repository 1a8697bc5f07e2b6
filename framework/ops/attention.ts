import { noGrad } from "../autograd/graph.ts";
import { ShapeError } from "../device/errors.ts";
import { showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { matmul } from "./matmul.ts";
import { eq, mul, where } from "./pointwise.ts";
import { expand, reshape, transpose } from "./shape.ts";
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

/**
 * torch.nn.functional.scaled_dot_product_attention, grouped-query and with packed documents.
 * @param q [B, Hq, T, D]; k, v [B, Hkv, S, D]. With layout "BTHD" the head axis stands third, as projections give it.
 * @param options.keys uses the first so many keys of a longer buffer (a KV cache)
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions & { layout?: "BHTD" | "BTHD"; keys?: number } = {},
): Tensor {
  const { layout = "BHTD" } = options;
  const turn = (x: Tensor) => (layout === "BTHD" ? transpose(x, 1, 2) : x);
  const used = (x: Tensor) =>
    options.keys === undefined || options.keys === x.shape[2] ? x : x.slice(2, 0, options.keys);
  return turn(attentionNaive(turn(q), used(turn(k)), used(turn(v)), options));
}
