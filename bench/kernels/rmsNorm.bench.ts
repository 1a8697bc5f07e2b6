import { rmsNorm } from "../../kernels/rmsNorm.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 128],
  [4096, 512],
  [32768, 64],
].map(([rows, columns]) => {
  const bytes = 4 * rows * columns;
  return kernelCase(
    rmsNorm,
    `${rows} × ${columns}`,
    { columns, dtype: "f32" },
    { x: bytes, weight: 4 * columns, y: bytes, rstd: 4 * rows },
    { rows, eps: 1e-6 },
  );
});
