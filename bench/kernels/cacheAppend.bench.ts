import { cacheAppend } from "../../kernels/cacheAppend.ts";
import { kernelCase } from "../case.ts";

export default [
  [1, 1],
  [64, 1],
  [8, 512],
].map(([batch, tokens]) => {
  const [size, capacity] = [128, 1024];
  const [rows, cache] = [4 * batch * tokens * size, 4 * batch * capacity * size];
  return kernelCase(
    cacheAppend,
    `${batch} × ${tokens} tokens of ${size}`,
    { dtype: "f32", wide: true },
    { k: rows, v: rows, lengths: new Int32Array(batch).fill(200), cacheK: cache, cacheV: cache },
    { batch, tokens, size: size / 4, capacity },
  );
});
