import {
  type DecodeLayerShape,
  fitsLayer,
  decodeLayer as kernel,
  LANES,
  scratchOf,
} from "../../kernels/decodeLayer.ts";
import { decodeLinear } from "../../kernels/decodeLinear.ts";
import type { View } from "../device/bindings.ts";
import { gpu } from "../tensor/engine.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { CacheLayer } from "./decode.ts";
import type { Norm } from "./decodeLinear.ts";
import { readAs } from "./linear.ts";
import { meeting } from "./meet.ts";
import { fusesHeads } from "./selfAttention.ts";

/** A layer's weights. Matrices are [out, in]; q, k and v lie one behind the other, and so do gate and up. */
export interface LayerWeights {
  matrices: Record<"q" | "k" | "v" | "o" | "gate" | "up" | "down", Tensor>;
  norm: Norm;
  mlpNorm: Norm;
  /** Norms of each head's queries and keys, of one epsilon. */
  heads?: { q: Norm; k: Norm };
}

/** A cache's layer that takes a token. */
export interface DecodingLayer extends CacheLayer {
  /** Workgroups of {@link decodeLayer}, one of `layerGroups`; 0: the layer is several launches. */
  groups: number;
  /** Where they meet (`meetingPlace`). */
  met: Tensor;
}

const FEW_CORES = 2; // cores up to which one of them without a wait, or all with one, were faster than launches apart under any load

/**
 * The numbers of workgroups by which a layer may be launched, 0 for several launches. All give the same bits, and which is the fastest hangs on the
 * model and on what else holds the cores. Only a CPU has a choice: a GPU promises no meeting, and its launches are cheap.
 */
export function layerGroups(): number[] {
  const { target, winners } = gpu();
  const inStep = target.class === "software" && target.subgroups && LANES.includes(target.subgroupSize);
  const asTuned = !winners?.any(decodeLinear, ({ columns }) => columns === 0); // which would sum in another order
  if (!inStep || !asTuned) return [0];
  if (meeting() < 2) return [1, 0];
  return meeting() > FEW_CORES ? [1, meeting(), 0] : [1, meeting()];
}

const PATIENCE = 1 << 29; // looks before a meeting is given up: seconds, a minute or more where many workgroups share a core

/**
 * A decoder layer for one new token of one stream, in one launch, for CPUs, where launches take longer than what they compute. The token's key and
 * value are put into the cache.
 * @param x     [..., hidden], one row, of the cache's dtype; it stands at the cache's `lengths`
 * @param table cos and sin by position
 * @returns     like x, equal bit for bit to the launches apart; nothing where the cache or the sizes call for these. No gradient.
 */
export function decodeLayer(
  x: Tensor,
  { matrices, norm, mlpNorm, heads }: LayerWeights,
  { k, v, lengths, met, groups }: DecodingLayer,
  table: Tensor,
): Tensor | undefined {
  const [batch, capacity, kvHeads, headDim] = k.shape;
  const hidden = x.dim(-1);
  if (groups === 0 || batch !== 1 || x.size !== hidden || x.dtype !== k.dtype) return undefined;
  if (!fusesHeads(headDim)) return undefined; // apart, such heads go through kernels that round elsewhere
  const { q, o, gate, up, down, ...kv } = mapped(matrices, (weight) => readAs(weight, x.dtype));
  const shape: DecodeLayerShape = {
    lanes: gpu().target.subgroupSize,
    ...{ hidden, kvHeads, headDim, group: q.shape[0] / headDim / kvHeads, intermediate: gate.shape[0] },
    ...{ dtype: x.dtype, weights: q.dtype, norm: heads !== undefined },
  };
  const joined = Tensor.join([q, kv.k, kv.v]) && Tensor.join([gate, up]);
  const w = joined && span([q, kv.k, kv.v, o, gate, up, down]);
  const gains = span([norm.weight, mlpNorm.weight, ...(heads ? [heads.q.weight, heads.k.weight] : [])]);
  if (!w || !gains || !fitsLayer(shape, gpu().target) || norm.eps !== mlpNorm.eps) return undefined;
  const y = Tensor.empty(x.shape, x.dtype, "decodeLayer");
  const scratch = Tensor.empty([4 * scratchOf(shape).size], x.dtype, "decodeLayer.scratch");
  const place = (tensor: Tensor, { offset }: View) => (tensor.view().offset - offset) / 16; // in the kernel's vectors
  const uniforms = {
    ...{ groups, patience: PATIENCE, batch, kvHeads, capacity, spans: 1, scale: 1 / Math.sqrt(headDim) },
    ...{ eps: heads?.q.eps ?? 0, rowEps: norm.eps },
    ...{ atQkv: place(q, w), atOut: place(o, w), atGate: place(gate, w), atDown: place(down, w) },
    ...{ atNorm: place(norm.weight, gains), atMlpNorm: place(mlpNorm.weight, gains) },
    ...{ atQueryNorm: heads ? place(heads.q.weight, gains) : 0, atKeyNorm: heads ? place(heads.k.weight, gains) : 0 },
  };
  const views = {
    ...{ x: x.view(), w, gains, table: table.view(), lengths: lengths.view(), met: met.view() },
    ...{ k: k.view(), v: v.view(), scratch: scratch.view(), y: y.view() },
  };
  gpu().launch(kernel, views, shape, uniforms);
  scratch.dispose();
  return y;
}

const mapped = <K extends string>(tensors: Record<K, Tensor>, f: (tensor: Tensor) => Tensor) =>
  Object.fromEntries(Object.entries<Tensor>(tensors).map(([name, tensor]) => [name, f(tensor)])) as Record<K, Tensor>;

/** What of a buffer holds all these, if one does and the adapter binds as much. */
function span(tensors: readonly Tensor[]): View | undefined {
  const views = tensors.map((tensor) => tensor.view());
  const [{ block }] = views;
  if (views.some((view) => view.block !== block) || tensors.some(({ dtype }) => dtype !== tensors[0].dtype))
    return undefined;
  const offset = Math.min(...views.map((view) => view.offset));
  const bytes = Math.max(...views.map((view) => view.offset + view.bytes)) - offset;
  return bytes <= gpu().device.limits.maxStorageBufferBindingSize ? { block, offset, bytes } : undefined;
}
