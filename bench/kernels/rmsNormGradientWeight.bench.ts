import { rmsNormGradientWeight, WEIGHT_PIECE } from "../../kernels/rmsNormGradientWeight.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 128],
  [4096, 512],
].map(([rows, columns]) => {
  const bytes = 4 * rows * columns;
  const partial = 4 * columns * Math.ceil(rows / WEIGHT_PIECE);
  return kernelCase(
    rmsNormGradientWeight,
    `${rows} × ${columns}`,
    { columns, dtype: "f32" },
    { dy: bytes, x: bytes, rstd: 4 * rows, partial },
    { rows },
  );
});
