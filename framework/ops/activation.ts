import { swiglu as swigluKernel } from "../../kernels/swiglu.ts";
import { swigluGradient } from "../../kernels/swigluGradient.ts";
import { op } from "../autograd/op.ts";
import { ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { rand } from "./create.ts";
import { expectFloat } from "./elementwise.ts";
import { cast, div, ge, mul } from "./pointwise.ts";

/**
 * silu(gate) · up, where each row of x holds gate's values, then up's, as `packedLinear` gives them. Shazeer 2020, arXiv:2002.05202
 * @param x [..., 2 · D], f32 or f16
 * @returns [..., D], x's dtype
 * @throws ShapeError where the last axis is odd
 */
export const swiglu = op("swiglu", {
  value(x: Tensor) {
    expectFloat("swiglu", x);
    const columns = x.dim(-1) / 2;
    if (!Number.isInteger(columns)) throw new ShapeError(`swiglu: x is ${showShape(x.shape)}, expected [..., 2 · D]`);
    const y = Tensor.empty([...x.shape.slice(0, -1), columns], x.dtype, "swiglu");
    const rows = columns ? y.size / columns : 0;
    gpu().launch(swigluKernel, { x: x.view(), y: y.view() }, { columns, dtype: x.dtype }, { rows });
    return { y, saved: { x, rows, columns } };
  },
  gradient(dy, { x, rows, columns }) {
    const dx = Tensor.empty(x.shape, x.dtype, "swiglu.dx");
    const views = { x: x.view(), dy: dy.view(), dx: dx.view() };
    gpu().launch(swigluGradient, views, { columns, dtype: x.dtype }, { rows });
    return [dx];
  },
});

/** Zeroes each element with probability p and scales the rest by 1 / (1 − p) while `training`; x's dtype. Srivastava et al. 2014 */
export function dropout(x: Tensor, p: number, training = true): Tensor {
  if (!(p >= 0 && p < 1)) throw new RangeError(`dropout: p is ${p}, expected 0 to 1 (exclusive)`);
  if (!training || p === 0) return x;
  return mul(x, cast(div(ge(rand(x.shape), p), 1 - p), x.dtype));
}
