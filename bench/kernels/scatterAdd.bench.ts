import { scatterAdd } from "../../kernels/scatterAdd.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 1024, 128],
  [4096, 6400, 512],
].map(([count, length, inner]) => {
  const index = Int32Array.from({ length: count }, (_, i) => (i * 31) % length);
  const walk = { outer: 1, length, inner, count, so: 0, sj: 1, si: 0 };
  return kernelCase(
    scatterAdd,
    `${count} rows of ${inner} into ${length}`,
    { dtype: "f32", index: "i32" },
    { x: 4 * count * inner, index, y: 4 * length * inner },
    walk,
  );
});
