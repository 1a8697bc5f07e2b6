import { op } from "../autograd/op.ts";
import { expectShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { rand } from "./create.ts";
import { elementwise, expectFloat } from "./elementwise.ts";
import { div, ge, mul } from "./pointwise.ts";

/** silu(gate) · up, of one shape. Shazeer 2020, arXiv:2002.05202 */
export const swiglu = op("swiglu", {
  value(gate: Tensor, up: Tensor) {
    expectFloat("swiglu", gate, "gate");
    expectShape("swiglu", "up", up.shape, gate.shape);
    return { y: elementwise("swiglu", "a / (1.0 + exp(-a)) * b", [gate, up]), saved: { gate, up } };
  },
  gradient(dy, { gate, up }) {
    const dgate = elementwise("swiglu.dgate", "siluSlope(a) * b * c", [gate, up, dy]);
    const dup = elementwise("swiglu.dup", "a / (1.0 + exp(-a)) * b", [gate, dy]);
    return [dgate, dup];
  },
});

/** Zeroes each element with probability p and scales the rest by 1 / (1 − p) while `training`. Srivastava et al. 2014 */
export function dropout(x: Tensor, p: number, training = true): Tensor {
  if (!(p >= 0 && p < 1)) throw new RangeError(`dropout: p is ${p}, expected 0 to 1 (exclusive)`);
  if (!training || p === 0) return x;
  return mul(x, div(ge(rand(x.shape), p), 1 - p));
}
