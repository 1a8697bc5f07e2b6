import type { Scalar } from "../../framework/device/kernel.ts";
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
    ["norm", 1, 2816, 512, "f16"],
    ["swiglu", 1, 512, 1408, "f16"],
    ["none", 1, 6400, 512, "f16"],
    ["norm", 2, 2816, 512, "f16"],
  ] as [DecodeLinearShape["prologue"], number, number, number, Scalar?][]
).map(([prologue, m, n, k, b = "f32"]) => {
  const shape: DecodeLinearShape = { prologue, a: "f32", b, residual: prologue === "swiglu", few: m };
  const weights = b === "f16" ? Float16Array.from({ length: n * k }, () => Math.random() - 0.5) : 4 * n * k;
  const a = 4 * m * k * (prologue === "swiglu" ? 2 : 1);
  const buffers = { a, gain: 4 * k, b: weights, residual: 4 * m * n, c: 4 * m * n };
  const name = `${prologue} ${m}×${n}×${k}${b === "f16" ? ", B f16" : ""}`;
  return kernelCase(decodeLinear, name, shape, buffers, { m, n, k, eps: 1e-6 });
});
