import { type DecodeLinearShape, decodeLinear } from "../../kernels/decodeLinear.ts";
import { isRecording } from "../autograd/graph.ts";
import { gpu } from "../tensor/engine.ts";
import { Tensor } from "../tensor/tensor.ts";
import { swiglu } from "./activation.ts";
import { linear, packedLinear, readAs } from "./linear.ts";
import { rmsNorm } from "./norm.ts";

/** An RMS norm's weight [D] and epsilon. */
export interface Norm {
  weight: Tensor;
  eps: number;
}

/**
 * packedLinear(rmsNorm(x), weights): in one launch where decoding calls for it, that is outside the graph and for few rows.
 * @param x       [..., in]
 * @param weights [outᵢ, in] each
 * @returns       [..., out₁ + out₂ + …], x's dtype
 */
export function normedLinear(x: Tensor, { weight, eps }: Norm, weights: readonly Tensor[]): Tensor {
  const read = weights.map((w) => readAs(w, x.dtype));
  const joined = fewRows(x, read[0]) ? Tensor.join(read) : undefined;
  const y = joined && launch("norm", x, joined, { gain: weight, eps });
  return y ?? packedLinear(rmsNorm(x, weight, { eps }), weights);
}

/**
 * linear(x, weight) + residual: where decoding reads f16 weights, by the kernel that takes two of them in one load.
 * @param x        [..., in]
 * @param weight   [out, in]
 * @param residual [..., out]
 * @returns        [..., out], x's dtype
 */
export function plainLinear(x: Tensor, weight: Tensor, residual?: Tensor): Tensor {
  const read = readAs(weight, x.dtype);
  const y = read.dtype === "f16" && fewRows(x, read) ? launch("none", x, read, { residual }) : undefined;
  return y ?? linear(x, weight, undefined, residual);
}

/**
 * linear(swiglu(x), weight) + residual: in one launch where decoding calls for it.
 * @param x        [..., 2 · in]
 * @param weight   [out, in]
 * @param residual [..., out]
 * @returns        [..., out], x's dtype
 */
export function gatedLinear(x: Tensor, weight: Tensor, residual?: Tensor): Tensor {
  const read = readAs(weight, x.dtype);
  const y = fewRows(x, read) ? launch("swiglu", x, read, { residual }) : undefined;
  return y ?? linear(swiglu(x), weight, undefined, residual);
}

/** A CPU gains by it for one row, whose product waits for memory anyway, and for two of f16; a GPU for as many as a lane has registers for. */
function fewRows(x: Tensor, { dtype }: Tensor): boolean {
  const rows = x.dim(-1) ? x.size / x.dim(-1) : 0;
  const most = gpu().target.class === "software" ? (dtype === "f16" ? 2 : 1) : 8;
  return !isRecording() && rows > 0 && rows <= most;
}

/** Nothing where the kernel does not take these sizes. */
function launch(
  prologue: DecodeLinearShape["prologue"],
  x: Tensor,
  weight: Tensor,
  { gain, eps = 0, residual }: { gain?: Tensor; eps?: number; residual?: Tensor },
): Tensor | undefined {
  const [n, k] = weight.shape;
  const whole = n % 4 === 0 && k % (weight.dtype === "f16" ? 8 : 4) === 0;
  const fits = whole && x.dim(-1) === (prologue === "swiglu" ? 2 * k : k);
  if (!fits || (residual && residual.dtype !== x.dtype)) return undefined;
  const m = x.size / x.dim(-1);
  const y = Tensor.empty([...x.shape.slice(0, -1), n], x.dtype, "decodeLinear");
  const few = [1, 2, 4, 8].find((rows) => m <= rows) as number;
  const views = {
    ...{ a: x.view(), b: weight.view(), c: y.view() },
    ...(gain ? { gain: gain.view() } : {}),
    ...(residual ? { residual: residual.view() } : {}),
  };
  const shape = { prologue, a: x.dtype, b: weight.dtype, residual: residual !== undefined, few };
  gpu().launch(decodeLinear, views, shape, { m, n, k, eps });
  return y;
}
