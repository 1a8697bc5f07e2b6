import { decodeCombine } from "../../kernels/decodeCombine.ts";
import { kernelCase } from "../case.ts";

export default [1, 64].map((batch) => {
  const [heads, headDim, capacity, span] = [8, 64, 2048, 256];
  const spans = capacity / span;
  const elements = batch * heads * headDim;
  return kernelCase(
    decodeCombine,
    `${batch} × ${heads} heads × ${headDim}, ${spans} spans`,
    { headDim, dtype: "f32", span },
    {
      parts: 4 * elements * spans,
      stats: 8 * batch * heads * spans,
      lengths: new Int32Array(batch).fill(capacity - 1),
      o: 4 * elements,
    },
    { batch, heads, capacity, spans },
  );
});
