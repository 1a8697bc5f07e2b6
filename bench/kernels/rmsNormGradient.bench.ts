import { rmsNormGradient } from "../../kernels/rmsNormGradient.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 128],
  [4096, 512],
].map(([rows, columns]) => {
  const bytes = 4 * rows * columns;
  return kernelCase(
    rmsNormGradient,
    `${rows} × ${columns}`,
    { columns, dtype: "f32" },
    { dy: bytes, x: bytes, weight: 4 * columns, rstd: 4 * rows, dx: bytes },
    { rows },
  );
});
