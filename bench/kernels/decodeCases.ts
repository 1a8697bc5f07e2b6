import { decodeAttention } from "../../kernels/decodeAttention.ts";
import { type KernelCase, kernelCase } from "../case.ts";

type Sizes = [batch: number, heads: number, kvHeads: number, keys: number, headDim: number];

/** A newest token behind a full cache, as `attention.bench.ts` has it too: one stream, a long one, eight and 64 of them. */
const sizes: Sizes[] = [
  [1, 8, 4, 512, 64],
  [1, 8, 2, 2048, 64],
  [8, 8, 4, 512, 64],
  [64, 8, 2, 512, 64],
];

/** Sizes and buffers of a decode step with so many keys a workgroup; 0: all of a row's. */
export function decodeCases(span: number): KernelCase[] {
  return sizes.map(([batch, heads, kvHeads, capacity, headDim]) => {
    const spans = span ? capacity / span : 1;
    const rows = 4 * batch * heads * headDim;
    const cache = 4 * batch * capacity * kvHeads * headDim;
    return kernelCase(
      decodeAttention,
      `${batch} × ${heads}/${kvHeads} heads × ${headDim}, ${capacity} keys${span ? `, spans of ${span}` : ""}`,
      { headDim, group: heads / kvHeads, dtype: "f32", span, source: "q", norm: false },
      {
        ...{ q: rows, k: cache, v: cache, lengths: new Int32Array(batch).fill(capacity - 1), o: rows * spans },
        ...(span ? { stats: 8 * batch * heads * spans } : {}),
      },
      { batch, kvHeads, capacity, spans, scale: 1 / Math.sqrt(headDim), eps: 0 },
    );
  });
}
