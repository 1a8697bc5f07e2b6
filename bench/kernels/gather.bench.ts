import { gather } from "../../kernels/gather.ts";
import { kernelCase } from "../case.ts";

export default [
  [1024, 1024, 128],
  [4096, 6400, 512],
].map(([count, length, inner]) => {
  const index = Int32Array.from({ length: count }, (_, i) => (i * 31) % length);
  const walk = { outer: 1, length, inner, count, so: 0, sj: 1, si: 0 };
  return kernelCase(
    gather,
    `${count} rows of ${inner} from ${length}`,
    { dtype: "f32", index: "i32", fours: true },
    { x: 4 * length * inner, index, y: 4 * count * inner },
    walk,
  );
});
