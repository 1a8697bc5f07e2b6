import { ROWS, rmsNormGradient } from "../../kernels/rmsNormGradient.ts";
import { kernelCase } from "../case.ts";

export default [
  { rows: 1024, columns: 128, base: true },
  { rows: 4096, columns: 512, base: true },
  { rows: 4096, columns: 512, base: false },
].map(({ rows, columns, base }) => {
  const bytes = 4 * rows * columns;
  const buffers = { dy: bytes, x: bytes, base: bytes, dx: bytes, weight: 4 * columns, rstd: 4 * rows };
  return kernelCase(
    rmsNormGradient,
    `${rows} × ${columns}${base ? ", added" : ""}`,
    { columns, dtype: "f32", base },
    { ...buffers, partial: 4 * columns * Math.ceil(rows / ROWS) },
    { rows },
  );
});
