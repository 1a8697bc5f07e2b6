import { crossEntropy } from "../../kernels/crossEntropy.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 1024],
  [2048, 6400],
].map(([rows, columns]) => {
  const label = Int32Array.from({ length: rows }, (_, i) => (i * 31) % columns);
  const buffers = { x: 4 * rows * columns, label, loss: 4 * rows, lse: 4 * rows };
  return kernelCase(crossEntropy, `${rows} × ${columns}`, { dtype: "f32" }, buffers, { rows, columns, ignore: -100 });
});
