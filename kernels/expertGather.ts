import { kernel, type Scalar } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";
import { NO_GROUP } from "./shared/matmulParts.ts";
import { width } from "./shared/row.ts";

export interface ExpertGatherShape {
  [name: string]: number | string | boolean;
  columns: number;
  dtype: Scalar;
  /** Slots of a token. */
  choices: number;
  /** Whether each row is multiplied by its slot's weight. */
  weighted: boolean;
}

/**
 * y [rows, columns]: each row the token's of its slot, x[slotOf[row] / choices] (· weight[slotOf[row]]); zeros where the row has none,
 * so that it adds nothing to a sum over rows. See `expertPlan`.
 */
export const expertGather = kernel<ExpertGatherShape, ItemTuning>({
  name: "expertGather",
  bindings: ({ weighted }) => ({
    x: "read",
    slotOf: "read",
    ...(weighted ? { weight: "read" as const } : {}),
    y: "write",
  }),
  types: ({ columns, dtype }) => ({ x: width(columns).type(dtype), y: width(columns).type(dtype), slotOf: "u32" }),
  uniforms: { rows: "u32" },
  sizes: ["rows"],
  ...itemSpace,
  workgroups: ({ columns }, tuning, { rows }) => itemWorkgroups((rows * columns) / width(columns).w, tuning),
  cost: ({ columns, dtype }, { rows }) => ({
    flops: rows * columns,
    bytes: 2 * (dtype === "f16" ? 2 : 4) * rows * columns,
  }),
  wgsl: ({ columns, dtype, choices, weighted }, tuning) => {
    const { w, type } = width(columns);
    return eachItem(
      tuning,
      "rows",
      `
      let row = i / ${columns / w}u;
      if (row >= u.rows) { return; }
      let slot = slotOf[row];
      if (slot == ${NO_GROUP}u) { y[i] = ${type(dtype)}(); return; }
      let value = x[slot / ${choices}u * ${columns / w}u + i % ${columns / w}u];
      y[i] = ${weighted ? `${type(dtype)}(${type("f32")}(value) * weight[slot])` : "value"};`,
    );
  },
});
