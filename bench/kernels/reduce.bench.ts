import { reduce } from "../../kernels/reduce.ts";
import { kernelCase } from "../case.ts";

const sizes = [
  { label: "1M to 512 sums", outer: 1, length: 1 << 20, inner: 1, piece: 2048, together: true },
  { label: "1024 rows of 1024", outer: 1024, length: 1024, inner: 1, piece: 1024, together: true },
  { label: "columns of 4096 × 512", outer: 1, length: 4096, inner: 512, piece: 2048, together: false },
];

export default sizes.map(({ label, outer, length, inner, piece, together }) => {
  const pieces = Math.ceil(length / piece);
  const buffers = { x: 4 * outer * length * inner, y: 4 * outer * pieces * inner };
  return kernelCase(reduce, label, { op: "sum", x: "f32", y: "f32", together }, buffers, {
    outer,
    length,
    inner,
    piece,
    pieces,
  });
});
