import { sumRows } from "../../kernels/sumRows.ts";
import { kernelCase } from "../case.ts";

export default [
  [64, 128],
  [1024, 512],
  [1024, 64],
].map(([rows, columns]) =>
  kernelCase(
    sumRows,
    `${rows} × ${columns}`,
    { accumulate: true },
    { x: 4 * rows * columns, y: 4 * columns },
    { start: 0, rows, columns },
  ),
);
