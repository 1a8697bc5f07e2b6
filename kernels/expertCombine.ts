import { kernel, type Scalar } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";
import { range } from "./shared/matmulParts.ts";
import { width } from "./shared/row.ts";

export interface ExpertCombineShape {
  [name: string]: number | string | boolean;
  columns: number;
  dtype: Scalar;
  /** Slots of a token. */
  choices: number;
  /** Whether each slot's row is multiplied by its weight. */
  weighted: boolean;
  residual: boolean;
  /** Whether slots have rows by `rowOf`; otherwise slot i has row i. */
  sorted: boolean;
}

/**
 * y [tokens, columns]: the sum of the rows of a token's slots, x[rowOf[slot]] (· weight[slot]) (+ residual[token]), in the order of the
 * slots and in f32. The way back from `expertGather`, and its gradient.
 */
export const expertCombine = kernel<ExpertCombineShape, ItemTuning>({
  name: "expertCombine",
  bindings: ({ weighted, residual, sorted }) => ({
    x: "read",
    ...(sorted ? { rowOf: "read" as const } : {}),
    ...(weighted ? { weight: "read" as const } : {}),
    ...(residual ? { residual: "read" as const } : {}),
    y: "write",
  }),
  types: ({ columns, dtype }) => {
    const type = width(columns).type(dtype);
    return { x: type, residual: type, y: type, rowOf: "u32" };
  },
  uniforms: { tokens: "u32" },
  sizes: ["tokens"],
  ...itemSpace,
  workgroups: ({ columns }, tuning, { tokens }) => itemWorkgroups((tokens * columns) / width(columns).w, tuning),
  cost: ({ columns, dtype, choices, residual }, { tokens }) => ({
    flops: 2 * choices * tokens * columns,
    bytes: (choices + 1 + (residual ? 1 : 0)) * (dtype === "f16" ? 2 : 4) * tokens * columns,
  }),
  wgsl: ({ columns, dtype, choices, weighted, residual, sorted }, tuning) => {
    const { w, type } = width(columns);
    const f32 = type("f32");
    const add = (j: number) => {
      const slot = `(token * ${choices}u + ${j}u)`;
      const value = `${f32}(x[${sorted ? `rowOf[${slot}]` : slot} * ${columns / w}u + c])`;
      return `sum += ${value}${weighted ? ` * weight[${slot}]` : ""};`;
    };
    return eachItem(
      tuning,
      "tokens",
      `
      let token = i / ${columns / w}u;
      let c = i % ${columns / w}u;
      if (token >= u.tokens) { return; }
      var sum = ${residual ? `${f32}(residual[i])` : `${f32}()`};
      ${range(choices).map(add).join("\n      ")}
      y[i] = ${type(dtype)}(sum);`,
    );
  },
});
