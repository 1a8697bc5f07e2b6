import { rmsNorm as rmsNormKernel } from "../../kernels/rmsNorm.ts";
import { ROWS, rmsNormGradient } from "../../kernels/rmsNormGradient.ts";
import { sumRows } from "../../kernels/sumRows.ts";
import { op } from "../autograd/op.ts";
import { gpu } from "../tensor/engine.ts";
import { expectShape, showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { expectFloat } from "./elementwise.ts";
import { add, cast, mul, rsqrt, sub } from "./pointwise.ts";
import { mean } from "./reduce.ts";

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
  gradient(dy, { x, weight, rstd, rows, columns }, { needs, into, take }) {
    const base = take(0); // a residual stream's gradient, added in passing
    const dx = Tensor.empty(x.shape, x.dtype, "rmsNorm.dx");
    const partial = Tensor.empty([Math.ceil(rows / ROWS), columns], "f32", "rmsNorm.dweight");
    const views = { dy: dy.view(), x: x.view(), weight: weight.view(), rstd: rstd.view(), dx: dx.view() };
    gpu().launch(
      rmsNormGradient,
      { ...views, partial: partial.view(), ...(base ? { base: base.view() } : {}) },
      { columns, dtype: x.dtype, base: base !== undefined },
      { rows },
    );
    return [dx, needs(1) ? joinRows(partial, [columns], into(1)) : null];
  },
});

/**
 * The sum of rows `start` to `start + rows` of partial sums [..., columns], added to `target` where there is one, which it then returns
 * null for.
 */
export function joinRows(
  partial: Tensor,
  shape: readonly number[],
  target?: Tensor,
  { start = 0, rows = partial.shape[0] }: { start?: number; rows?: number } = {},
): Tensor | null {
  const y = target ?? Tensor.empty(shape, "f32", "sumRows");
  const uniforms = { start, rows, columns: y.size };
  gpu().launch(sumRows, { x: partial.view(), y: y.view() }, { accumulate: target !== undefined }, uniforms);
  return target ? null : y;
}

/**
 * Layer normalisation over the last axis: (x − mean) · rsqrt(var + eps) · weight + bias, computed in f32.
 * @param x [..., D], f32 or f16, as what comes out is; weight and bias [D], either may be left out. Ba et al. 2016, arXiv:1607.06450
 */
export function layerNorm(x: Tensor, weight?: Tensor, bias?: Tensor, { eps = 1e-5 }: { eps?: number } = {}): Tensor {
  expectFloat("layerNorm", x);
  if (weight) expectShape("layerNorm", "weight", weight.shape, [x.dim(-1)], `x is ${showShape(x.shape)}`);
  if (bias) expectShape("layerNorm", "bias", bias.shape, [x.dim(-1)], `x is ${showShape(x.shape)}`);
  const wide = cast(x, "f32");
  const centred = sub(wide, mean(wide, -1, { keepdim: true }));
  const variance = mean(mul(centred, centred), -1, { keepdim: true });
  const normal = mul(centred, rsqrt(add(variance, eps)));
  const scaled = weight ? mul(normal, weight) : normal;
  return cast(bias ? add(scaled, bias) : scaled, x.dtype);
}
