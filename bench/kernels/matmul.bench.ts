import { type MatmulCall, matmulLaunch } from "../../kernels/matmul.ts";
import { type KernelCase, kernelCase } from "../case.ts";

type Size = [layout: MatmulCall["layout"], m: number, n: number, k: number, type?: "f32" | "f16"];

/** A layer and the output of the 26m model over 2,048 tokens: what a linear layer [out, in] takes forward, and for both gradients. */
const layers = [
  [768, 512],
  [512, 512],
  [2816, 512],
  [512, 1408],
  [6400, 512],
];
const step: Size[] = layers.flatMap(([n, k]): Size[] => [
  ["NT", 2048, n, k],
  ["NN", 2048, k, n],
  ["TN", n, k, 2048],
]);

/** Squares, a small model's step (256 hidden, 704 between), nothing aligned, decoding; then the 26m model's, and what GPUs are asked. */
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

/** Four experts [n, k] over 2,048 tokens in tiles of 32: forward, and their gradients. */
function expertCase(layout: MatmulCall["layout"], n: number, k: number): KernelCase {
  const [rows, tile, experts] = [2048, 32, 4];
  const types = { a: "f32", b: "f32", c: "f32" } as const;
  const segments = {
    m: n,
    n: k,
    k: rows / experts,
    batch: experts,
    strideA: 0,
    strideB: 0,
    grouped: "segments",
  } as const;
  const [out, inner] = layout === "NT" ? [n, k] : [k, n];
  const tiles = {
    m: tile,
    n: out,
    k: inner,
    batch: rows / tile,
    strideA: tile * inner,
    strideB: n * k,
    grouped: "tiles",
  } as const;
  const { kernel, shape, uniforms } = matmulLaunch({ layout, ...types, ...(layout === "TN" ? segments : tiles) });
  const [left, right, weights] = [4 * rows * n, 4 * rows * k, 4 * experts * n * k];
  const matrices = Uint32Array.from(layout === "TN" ? { length: experts + 1 } : { length: rows / tile }, (_, i) =>
    layout === "TN" ? (i * rows) / experts : Math.floor((i * tile * experts) / rows),
  );
  const buffers = {
    NT: { a: right, b: weights, c: left },
    NN: { a: left, b: weights, c: right },
    TN: { a: left, b: right, c: weights },
  };
  return kernelCase(
    kernel,
    `${layout} 4 experts, ${rows}×${n}×${k} f32`,
    shape,
    { ...buffers[layout], matrices },
    uniforms,
  );
}

const large: Size[] = [
  ["NN", 4096, 4096, 4096],
  ["NT", 4096, 4096, 4096],
  ["TN", 4096, 4096, 4096],
  ["NN", 4096, 4096, 4096, "f16"],
  ["NT", 4096, 4096, 4096, "f16"],
  ["TN", 4096, 4096, 4096, "f16"],
  ["TN", 512, 512, 16384],
  ["NT", 16384, 768, 512, "f16"],
  ["NT", 16384, 2816, 512, "f16"],
  ["NN", 16384, 512, 2816, "f16"],
  ["TN", 2816, 512, 16384, "f16"],
];

export default [
  ...[...sizes, ...step].map((size) => matmulCase(...size)),
  ...(["NT", "NN", "TN"] as const).map((layout) => expertCase(layout, 1408, 256)),
  ...large.map((size) => ({ ...matmulCase(...size), heavy: true })),
];
