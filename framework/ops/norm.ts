import { rmsNorm as rmsNormKernel } from "../../kernels/rmsNorm.ts";
import { rmsNormGradient } from "../../kernels/rmsNormGradient.ts";
import { rmsNormGradientWeight, WEIGHT_PIECE } from "../../kernels/rmsNormGradientWeight.ts";
import { op } from "../autograd/op.ts";
import { gpu } from "../tensor/engine.ts";
import { expectShape, showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { expectFloat, updateInPlace } from "./elementwise.ts";
import { add, mul, rsqrt, sub } from "./pointwise.ts";
import { mean, sum, variance } from "./reduce.ts";

/**
 * Root-mean-square normalisation over the last axis: x · rsqrt(mean(x²) + eps) · weight.
 * @param x       [..., D], f32 or f16
 * @param weight  [D], f32
 * @returns       [..., D], x's dtype
 * @throws ShapeError where weight is not [D]
 * Zhang & Sennrich 2019, arXiv:1910.07467
 */
export const rmsNorm = op("rmsNorm", {
  value(x: Tensor, weight: Tensor, { eps = 1e-6 }: { eps?: number } = {}) {
    expectFloat("rmsNorm", x);
    expectShape("rmsNorm", "weight", weight.shape, [x.dim(-1)], `x is ${showShape(x.shape)}`);
    const columns = x.dim(-1);
    const rows = columns ? x.size / columns : 0;
    const y = Tensor.empty(x.shape, x.dtype, "rmsNorm");
    const rstd = Tensor.empty([rows], "f32", "rmsNorm.rstd");
    const views = { x: x.view(), weight: weight.view(), y: y.view(), rstd: rstd.view() };
    gpu().launch(rmsNormKernel, views, { columns, dtype: x.dtype }, { rows, eps });
    return { y, saved: { x, weight, rstd, rows, columns } };
  },
  gradient(dy, { x, weight, rstd, rows, columns }, { needs, into }) {
    const dx = Tensor.empty(x.shape, x.dtype, "rmsNorm.dx");
    const views = { dy: dy.view(), x: x.view(), rstd: rstd.view() };
    gpu().launch(
      rmsNormGradient,
      { ...views, weight: weight.view(), dx: dx.view() },
      { columns, dtype: x.dtype },
      { rows },
    );
    if (!needs(1)) return [dx, null];
    const partial = Tensor.empty([Math.ceil(rows / WEIGHT_PIECE), columns], "f32", "rmsNorm.dweight");
    gpu().launch(rmsNormGradientWeight, { ...views, partial: partial.view() }, { columns, dtype: x.dtype }, { rows });
    const dweight = sum(partial, 0);
    const target = into(1);
    if (target) updateInPlace("old + a", target, [dweight]);
    return [dx, target ? null : dweight];
  },
});

/**
 * Layer normalisation over the last axis: (x − mean) · rsqrt(var + eps) · weight + bias.
 * @param x [..., D]; weight and bias [D], either may be left out. Ba et al. 2016, arXiv:1607.06450
 */
export function layerNorm(x: Tensor, weight?: Tensor, bias?: Tensor, { eps = 1e-5 }: { eps?: number } = {}): Tensor {
  expectFloat("layerNorm", x);
  if (weight) expectShape("layerNorm", "weight", weight.shape, [x.dim(-1)], `x is ${showShape(x.shape)}`);
  if (bias) expectShape("layerNorm", "bias", bias.shape, [x.dim(-1)], `x is ${showShape(x.shape)}`);
  const centred = sub(x, mean(x, -1, { keepdim: true }));
  const normal = mul(centred, rsqrt(add(variance(x, -1, { keepdim: true, correction: 0 }), eps)));
  const scaled = weight ? mul(normal, weight) : normal;
  return bias ? add(scaled, bias) : scaled;
}
