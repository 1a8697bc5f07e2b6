import { crossEntropyGradient } from "../../kernels/crossEntropyGradient.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 1024],
  [2048, 6400],
].map(([rows, columns]) => {
  const label = Int32Array.from({ length: rows }, (_, i) => (i * 31) % columns);
  const buffers = { x: 4 * rows * columns, label, lse: 4 * rows, scale: 4 };
  const shape = { dtype: "f32", perRow: false, halved: false } as const;
  return kernelCase(crossEntropyGradient, `${rows} × ${columns}`, shape, buffers, { rows, columns, ignore: -100 });
});
