import { expertGather } from "../../kernels/expertGather.ts";
import { kernelCase } from "../case.ts";
import { expertSizes, labelOf, planOf } from "./expertCases.ts";

export default expertSizes.map((size) => {
  const [tokens, , choices, columns] = size;
  const { slotOf, rows } = planOf(size);
  const shape = { columns, dtype: "f32", choices, weighted: false } as const;
  return kernelCase(
    expertGather,
    labelOf(size),
    shape,
    { x: 4 * tokens * columns, slotOf, y: 4 * rows * columns },
    { rows },
  );
});
