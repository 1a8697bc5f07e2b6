import type { Scalar } from "../../framework/device/kernel.ts";
import { type DecodeLinearShape, decodeLinear } from "../../kernels/decodeLinear.ts";
import { kernelCase } from "../case.ts";

type Case = [prologue: DecodeLinearShape["prologue"], gated: boolean, m: number, n: number, k: number, b: Scalar];

/** micromind-26m's layers (q, k and v; the output; the MLP's two; the head), a token of one stream, of two and of eight. */
export default (
  [
    ["norm", false, 1, 768, 512, "f32"],
    ["none", false, 1, 512, 512, "f32"],
    ["norm", true, 1, 1408, 512, "f32"],
    ["none", false, 1, 512, 1408, "f32"],
    ["none", false, 1, 6400, 512, "f32"],
    ["norm", true, 8, 1408, 512, "f32"],
    ["none", false, 8, 512, 1408, "f32"],
    ["norm", true, 1, 1408, 512, "f16"],
    ["none", false, 1, 512, 1408, "f16"],
    ["none", false, 1, 6400, 512, "f16"],
    ["norm", true, 2, 1408, 512, "f16"],
  ] as Case[]
).map(([prologue, gated, m, n, k, b]) => {
  const shape: DecodeLinearShape = { prologue, gated, a: "f32", b, residual: n === 512, few: m };
  const elements = (gated ? 2 : 1) * n * k;
  const weights = b === "f16" ? Float16Array.from({ length: elements }, () => Math.random() - 0.5) : 4 * elements;
  const buffers = { a: 4 * m * k, gain: 4 * k, b: weights, residual: 4 * m * n, c: 4 * m * n };
  const name = `${prologue}${gated ? ", gated" : ""} ${m}×${n}×${k}${b === "f16" ? ", B f16" : ""}`;
  return kernelCase(decodeLinear, name, shape, buffers, { m, n, k, eps: 1e-6 });
});
