import type { Scalar } from "../../framework/device/kernel.ts";
import { testGpu } from "./launch.ts";

const { target } = await testGpu();

/** Rows, columns, dtype: one element, none, and more than the largest workgroup takes, by single elements and by fours. */
export const swigluSizes: [rows: number, columns: number, dtype: Scalar][] = [
  [1, 1, "f32"],
  [0, 4, "f32"],
  [13, 1283, "f32"],
  [37, 484, "f32"],
];
if (target.f16) swigluSizes.push([37, 484, "f16"]);
