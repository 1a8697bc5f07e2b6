import { op } from "../autograd/op.ts";
import { ShapeError } from "../device/errors.ts";
import type { DType } from "../tensor/dtype.ts";
import { type Dims, expectShape, showShape, sizeOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { expectFloat, updateInPlace } from "./elementwise.ts";
import { launchMatmul } from "./matmul.ts";
import { cast } from "./pointwise.ts";
import { sum } from "./reduce.ts";
import { concat, reshape, slice } from "./shape.ts";

/** Rows of x, features out and in. */
interface Sizes {
  m: number;
  n: number;
  k: number;
}

/** A weight as products of `dtype` read it: the f16 copy that an optimizer keeps, where there is one. */
export function readAs(weight: Tensor, dtype: DType): Tensor {
  return dtype === "f16" && weight.half ? weight.half : weight;
}

function checkWeight(name: string, x: Tensor, weight: Tensor): void {
  if (weight.rank !== 2 || x.dim(-1) !== weight.shape[1])
    throw new ShapeError(
      `${name}: x is ${showShape(x.shape)} and weight ${showShape(weight.shape)}, expected [..., in] and [out, in]`,
    );
}

/**
 * x · weightᵀ + bias + residual, the product of all rows in one launch. The weight's gradient adds straight into its place.
 * @param x        [..., in]
 * @param weight   [out, in]
 * @param bias     [out]
 * @param residual [..., out], x's dtype: what a block of a transformer adds to
 * @returns        [..., out], x's dtype
 */
export const linear = op("linear", {
  value(x: Tensor, weight: Tensor, bias?: Tensor, residual?: Tensor) {
    expectFloat("linear", x);
    checkWeight("linear", x, weight);
    const [n, k] = weight.shape;
    const shape = [...x.shape.slice(0, -1), n];
    if (bias) expectShape("linear", "bias", bias.shape, [n]);
    if (residual) expectShape("linear", "residual", residual.shape, shape);
    const m = sizeOf(x.shape.slice(0, -1));
    const y = Tensor.empty(shape, x.dtype, "linear");
    const more = { bias, residual: residual && cast(residual, x.dtype) };
    launchMatmul("NT", x, readAs(weight, x.dtype), y, { batch: 1, m, n, k }, more);
    return { y, saved: { x, weight, bias, skips: residual?.dtype, sizes: { m, n, k } } };
  },
  gradient(dy, { x, weight, bias, skips, sizes }, { needs, into }) {
    const dx = needs(0) ? inputGradient(dy, readAs(weight, x.dtype), x.shape, sizes) : null;
    const dweight = needs(1) ? weightGradient(dy, x, weight, sizes, into(1)) : null;
    const dbias = bias ? [needs(2) ? biasGradient(dy, sizes, into(2)) : null] : [];
    return [dx, dweight, ...dbias, skips ? cast(dy, skips) : null];
  },
});

function inputGradient(dy: Tensor, weight: Tensor, shape: Dims, { m, n, k }: Sizes): Tensor {
  const dx = Tensor.empty(shape, dy.dtype, "linear.dx");
  launchMatmul("NN", dy, weight, dx, { batch: 1, m, n: k, k: n });
  return dx;
}

/** dyᵀ · x, added to `target` where there is one. Summed in f32. */
function weightGradient(dy: Tensor, x: Tensor, weight: Tensor, sizes: Sizes, target?: Tensor): Tensor | null {
  const dweight = target ?? Tensor.empty(weight.shape, "f32", "linear.dweight");
  launchMatmul("TN", dy, x, dweight, { batch: 1, m: sizes.n, n: sizes.k, k: sizes.m }, { accumulate: !!target });
  return target ? null : cast(dweight, weight.dtype);
}

function biasGradient(dy: Tensor, { m, n }: Sizes, target?: Tensor): Tensor | null {
  const dbias = sum(reshape(dy, [m, n]), 0);
  if (!target) return dbias;
  updateInPlace("old + f32(a)", target, [dbias]);
  return null;
}

/**
 * Several linear layers of one input in one product: [x · w₁ᵀ, x · w₂ᵀ, …] side by side. Weights that lie one behind the other (see
 * `adjoin`) are read where they are, others are copied together first.
 * @param x       [..., in]
 * @param weights [outᵢ, in] each
 * @returns       [..., out₁ + out₂ + …], x's dtype
 */
export const packedLinear = op("packedLinear", {
  value(x: Tensor, weights: readonly Tensor[]) {
    expectFloat("packedLinear", x);
    for (const weight of weights) checkWeight("packedLinear", x, weight);
    const n = weights.reduce((all, { shape }) => all + shape[0], 0);
    const k = x.dim(-1);
    const m = sizeOf(x.shape.slice(0, -1));
    const y = Tensor.empty([...x.shape.slice(0, -1), n], x.dtype, "packedLinear");
    launchMatmul("NT", x, together(weights, x.dtype), y, { batch: 1, m, n, k });
    return { y, saved: { x, weights, sizes: { m, n, k } } };
  },
  gradient(dy, { x, weights, sizes }, { needs, into }) {
    const dx = needs(0) ? inputGradient(dy, together(weights, x.dtype), x.shape, sizes) : null;
    if (!weights.some((_, i) => needs(i + 1))) return [dx, ...weights.map(() => null)];
    const targets = weights.flatMap((_, i) => into(i + 1) ?? []);
    const target = targets.length === weights.length ? Tensor.join(targets) : undefined;
    const like = target ?? Tensor.empty([sizes.n, sizes.k], "f32", "packedLinear.dweight");
    const dweight = weightGradient(dy, x, like, sizes, target);
    let row = 0;
    const pieces = weights.map(({ shape, dtype }) => {
      row += shape[0];
      return dweight && cast(slice(dweight, 0, row - shape[0], row), dtype);
    });
    return [dx, ...pieces];
  },
});

function together(weights: readonly Tensor[], dtype: DType): Tensor {
  const read = weights.map((weight) => readAs(weight, dtype));
  return Tensor.join(read) ?? concat(read, 0);
}
