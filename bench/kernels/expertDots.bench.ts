import { expertDots } from "../../kernels/expertDots.ts";
import { kernelCase } from "../case.ts";
import { expertSizes, labelOf, planOf } from "./expertCases.ts";

export default expertSizes.map((size) => {
  const [tokens, , choices, columns] = size;
  const { rowOf, rows, slots } = planOf(size);
  const buffers = { x: 4 * rows * columns, dy: 4 * tokens * columns, rowOf, y: 4 * slots };
  return kernelCase(expertDots, labelOf(size), { columns, dtype: "f32", choices }, buffers, { slots });
});
