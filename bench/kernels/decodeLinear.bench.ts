import { type DecodeLinearShape, decodeLinear } from "../../kernels/decodeLinear.ts";
import { kernelCase } from "../case.ts";

/** micromind-26m's layers, a token of one stream and of eight. */
export default (
  [
    ["norm", 1, 768, 512],
    ["norm", 1, 2816, 512],
    ["swiglu", 1, 512, 1408],
    ["norm", 8, 2816, 512],
    ["swiglu", 8, 512, 1408],
  ] as const
).map(([prologue, m, n, k]) => {
  const residual = prologue === "swiglu";
  const shape: DecodeLinearShape = { prologue, a: "f32", b: "f32", residual, few: m };
  const buffers = { a: 4 * m * k * (residual ? 2 : 1), gain: 4 * k, b: 4 * n * k, residual: 4 * m * n, c: 4 * m * n };
  return kernelCase(decodeLinear, `${prologue} ${m}×${n}×${k}`, shape, buffers, { m, n, k, eps: 1e-6 });
});
