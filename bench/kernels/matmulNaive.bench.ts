import { matmulLaunch } from "../../kernels/matmul.ts";
import { matmulNaive } from "../../kernels/matmulNaive.ts";
import { kernelCase } from "../case.ts";

export default (["NN", "NT", "TN"] as const).map((layout) => {
  const size = { m: 256, n: 256, k: 256, batch: 1, strideA: 0, strideB: 0 };
  const { shape, uniforms } = matmulLaunch({ layout, ...size, a: "f32", b: "f32", c: "f32" });
  const bytes = 4 * 256 * 256;
  return kernelCase(matmulNaive, `${layout} 256×256×256 f32`, shape, { a: bytes, b: bytes, c: bytes }, uniforms);
});
