import { softmax } from "../../kernels/softmax.ts";
import { kernelCase } from "../case.ts";

export default [
  [4096, 128],
  [1024, 6400],
].map(([rows, columns]) => {
  const bytes = 4 * rows * columns;
  return kernelCase(
    softmax,
    `${rows} × ${columns}`,
    { dtype: "f32", log: false },
    { x: bytes, y: bytes },
    { rows, columns },
  );
});
