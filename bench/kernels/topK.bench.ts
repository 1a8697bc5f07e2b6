import { topK } from "../../kernels/topK.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 4, 1],
  [16384, 128, 8],
].map(([rows, columns, k]) => {
  const buffers = { x: 4 * rows * columns, index: 4 * rows * k };
  return kernelCase(topK, `${k} of ${columns}, ${rows} rows`, {}, buffers, { rows, columns, k });
});
