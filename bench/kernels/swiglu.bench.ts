import { swiglu } from "../../kernels/swiglu.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 384],
  [2048, 1408],
].map(([rows, columns]) => {
  const bytes = 4 * rows * columns;
  const buffers = { x: 2 * bytes, y: bytes };
  return kernelCase(swiglu, `${rows} × ${columns}`, { columns, dtype: "f32" }, buffers, { rows });
});
