import { type DecodeShape, decodeAttention } from "../../kernels/decodeAttention.ts";
import { kernelCase } from "../case.ts";
import { decodeCases } from "./decodeCases.ts";

const [heads, kvHeads, headDim, capacity] = [8, 2, 64, 64];
const shape: DecodeShape = { headDim, group: heads / kvHeads, dtype: "f32", span: 0, source: "qkv", norm: true };
const cache = 4 * capacity * kvHeads * headDim;

export default [
  ...decodeCases(0),
  ...decodeCases(256),
  kernelCase(
    decodeAttention,
    `1 × ${heads}/${kvHeads} heads × ${headDim}, ${capacity} keys, norms and rotation within`,
    shape,
    {
      ...{ qkv: 4 * (heads + 2 * kvHeads) * headDim, qNorm: 4 * headDim, kNorm: 4 * headDim },
      ...{ table: 4 * capacity * headDim, k: cache, v: cache, lengths: Int32Array.of(capacity - 1) },
      o: 4 * heads * headDim,
    },
    { batch: 1, kvHeads, capacity, spans: 1, scale: 1 / Math.sqrt(headDim), eps: 1e-6 },
  ),
];
