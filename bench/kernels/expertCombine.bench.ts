import { expertCombine } from "../../kernels/expertCombine.ts";
import { kernelCase } from "../case.ts";
import { expertSizes, labelOf, planOf } from "./expertCases.ts";

export default expertSizes.map((size) => {
  const [tokens, , choices, columns] = size;
  const { rowOf, rows, slots } = planOf(size);
  const bytes = 4 * tokens * columns;
  const buffers = { x: 4 * rows * columns, rowOf, weight: 4 * slots, residual: bytes, y: bytes };
  const shape = { columns, dtype: "f32", choices, weighted: true, residual: true, sorted: true } as const;
  return kernelCase(expertCombine, labelOf(size), shape, buffers, { tokens });
});
