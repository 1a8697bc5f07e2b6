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
export function normedLinear(x: Tensor, norm: Norm, weights: readonly Tensor[]): Tensor {
  const joined = decodes(x, weights);
  const y = joined && launch(x, joined, { norm });
  return y ?? packedLinear(rmsNorm(x, norm.weight, norm), weights);
}

/**
 * linear(x, weight) + residual: where decoding calls for it, by the kernel for few rows.
 * @param x        [..., in]
 * @param weight   [out, in]
 * @param residual [..., out]
 * @returns        [..., out], x's dtype
 */
export function plainLinear(x: Tensor, weight: Tensor, residual?: Tensor): Tensor {
  const read = decodes(x, [weight]);
  const y = read && launch(x, read, { residual });
  return y ?? linear(x, weight, undefined, residual);
}

/**
 * swiglu(packedLinear(rmsNorm(x), [gate, up])): in one launch where decoding calls for it.
 * @param x       [..., in]
 * @param weights [out, in] each
 * @param norm    x goes in as it is where there is none
 * @returns       [..., out], x's dtype
 */
export function gatedLinear(x: Tensor, weights: readonly [gate: Tensor, up: Tensor], norm?: Norm): Tensor {
  const joined = decodes(x, weights);
  const y = joined && launch(x, joined, { norm, gated: true });
  return y ?? swiglu(packedLinear(norm ? rmsNorm(x, norm.weight, norm) : x, weights));
}

/**
 * The weights as one, where this is decoding: outside the graph and for as many rows as a lane has registers for; a CPU without subgroups
 * gains by it for one row only, since the lanes' joining of sums is long there.
 */
function decodes(x: Tensor, weights: readonly Tensor[]): Tensor | undefined {
  if (isRecording()) return undefined;
  const read = weights.map((weight) => readAs(weight, x.dtype));
  const rows = x.dim(-1) ? x.size / x.dim(-1) : 0;
  const { class: kind, subgroups } = gpu().target;
  const most = kind === "software" && !subgroups ? 1 : 8;
  return rows > 0 && rows <= most ? Tensor.join(read) : undefined;
}

/** Nothing where the kernel does not take these sizes. */
function launch(
  x: Tensor,
  weight: Tensor,
  { norm, residual, gated = false }: { norm?: Norm; residual?: Tensor; gated?: boolean },
): Tensor | undefined {
  const [rows, k] = weight.shape;
  const n = gated ? rows / 2 : rows;
  const whole = n % 4 === 0 && k % (weight.dtype === "f16" ? 8 : 4) === 0;
  if (!whole || x.dim(-1) !== k || (residual && residual.dtype !== x.dtype)) return undefined;
  const m = x.size / k;
  const y = Tensor.empty([...x.shape.slice(0, -1), n], x.dtype, "decodeLinear");
  const few = [1, 2, 4, 8].find((most) => m <= most) as number;
  const views = {
    ...{ a: x.view(), b: weight.view(), c: y.view() },
    ...(norm ? { gain: norm.weight.view() } : {}),
    ...(residual ? { residual: residual.view() } : {}),
  };
  const shape: DecodeLinearShape = {
    ...{ prologue: norm ? "norm" : "none", a: x.dtype, b: weight.dtype },
    ...{ gated, residual: residual !== undefined, few },
  };
  gpu().launch(decodeLinear, views, shape, { m, n, k, eps: norm?.eps ?? 0 });
  return y;
}
