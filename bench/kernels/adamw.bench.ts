import { adamw } from "../../kernels/adamw.ts";
import { kernelCase } from "../case.ts";

const control = Float32Array.of(1, 1, 1, 3);
const uniforms = { learningRate: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };

export default [1 << 20, 1 << 22].map((n) =>
  kernelCase(
    adamw,
    `${n >> 20}M parameters`,
    {},
    { p: 4 * n, g: 4 * n, m: 4 * n, v: 4 * n, control },
    { n, ...uniforms },
  ),
);
