import { type MatmulCall, matmulLaunch } from "../../kernels/matmul.ts";
import { type KernelCase, kernelCase } from "../case.ts";

type Size = [layout: MatmulCall["layout"], m: number, n: number, k: number, type?: "f32" | "f16"];

/** A square; the products of a small model's step (2,048 tokens, 256 hidden, 704 between, 6,400 in the vocabulary); decoding. */
const sizes: Size[] = [
  ["NN", 512, 512, 512],
  ["NT", 512, 512, 512],
  ["TN", 512, 512, 512],
  ["NT", 512, 512, 512, "f16"],
  ["NT", 2048, 704, 256],
  ["NN", 2048, 256, 704],
  ["TN", 704, 256, 2048],
  ["TN", 96, 96, 4096],
  ["NT", 512, 6400, 256],
  ["NT", 511, 513, 509],
  ["NT", 1, 6400, 512],
  ["NT", 8, 6400, 512],
];

function matmulCase(
  layout: MatmulCall["layout"],
  m: number,
  n: number,
  k: number,
  type: "f32" | "f16" = "f32",
): KernelCase {
  const call = { layout, m, n, k, batch: 1, strideA: 0, strideB: 0, a: type, b: type, c: type } as const;
  const { kernel, shape, uniforms } = matmulLaunch(call);
  const bytes = type === "f16" ? 2 : 4;
  const buffers = { a: bytes * m * k, b: bytes * k * n, c: bytes * m * n };
  return kernelCase(kernel, `${layout} ${m}×${n}×${k} ${type}`, shape, buffers, uniforms);
}

export default sizes.map((size) => matmulCase(...size));
