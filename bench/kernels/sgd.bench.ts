import { sgd } from "../../kernels/sgd.ts";
import { kernelCase } from "../case.ts";

const n = 1 << 20;
const buffers = { p: 4 * n, g: 4 * n, v: 4 * n, control: Float32Array.of(1, 1, 1, 3) };

export default [
  kernelCase(sgd, "1M parameters", {}, buffers, { n, learningRate: 1e-3, momentum: 0.9, weightDecay: 0 }),
];
