import { matmulLaunch } from "../../kernels/matmul.ts";
import { matmulJoin } from "../../kernels/matmulJoin.ts";
import { kernelCase } from "../case.ts";

export default [
  [512, 512, 8],
  [768, 512, 4],
].map(([m, n, split]) => {
  const sizes = { m, n, k: 0, batch: 1, strideA: 0, strideB: 0 };
  const { shape, uniforms } = matmulLaunch({ layout: "TN", a: "f32", b: "f32", c: "f32", ...sizes });
  const buffers = { parts: 4 * split * m * n, c: 4 * m * n };
  return kernelCase(matmulJoin, `${split} parts of ${m}×${n}`, { ...shape, split }, buffers, uniforms);
});
