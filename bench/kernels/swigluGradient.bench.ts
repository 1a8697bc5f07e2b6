import { swigluGradient } from "../../kernels/swigluGradient.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 384],
  [2048, 1408],
].map(([rows, columns]) => {
  const bytes = 4 * rows * columns;
  const buffers = { x: 2 * bytes, dy: bytes, dx: 2 * bytes };
  return kernelCase(swigluGradient, `${rows} × ${columns}`, { columns, dtype: "f32" }, buffers, { rows });
});
