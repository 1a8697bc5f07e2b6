import type { Scalar } from "../../framework/device/kernel.ts";
import { range, unpacked } from "./matmulParts.ts";

/** Elements of a weight in one load: an f32 vector, or eight f16 as four words. */
export const perLoad = (b: Scalar): number => (b === "f16" ? 8 : 4);

/** WGSL type of a weight's loads. */
export const loaded = (b: Scalar): string => (b === "f16" ? "halves8" : "vec4f");

/** WGSL that splits a load `name` into quads `name`_0 and, of f16, `name`_1. */
export function loadQuads(b: Scalar, name: string, value: string): string {
  if (b !== "f16") return `let ${name}_0 = ${value};`;
  const quad = (low: string, high: string) => unpacked(`${name}.${low}`, `${name}.${high}`);
  return `let ${name} = ${value}; let ${name}_0 = ${quad("x", "y")}; let ${name}_1 = ${quad("z", "w")};`;
}

export interface ColumnStep {
  b: Scalar;
  /** Loads of B in a step, the WGSL of each. */
  loads: number;
  load: (i: number) => string;
  /** Elements of the step that a lane has in `y`r: 1, 2 or 4, the lanes one after the other. */
  each: number;
  rows: readonly number[];
}

/** WGSL that adds to `sum`r what a step of a lane's own column comes to: its loads of B times elements that the lanes hand round. */
export function columnStep({ b, loads, load, each, rows }: ColumnStep): string {
  const quads = range(perLoad(b) / 4);
  const term = (r: number, i: number, q: number) => `dot(${handed(`y${r}`, i * perLoad(b) + 4 * q, each)}, b${i}_${q})`;
  const sum = (r: number, i: number) => `sum${r} += ${quads.map((q) => term(r, i, q)).join(" + ")};`;
  return range(loads)
    .map((i) => `{ ${loadQuads(b, `b${i}`, load(i))} ${rows.map((r) => sum(r, i)).join(" ")} }`)
    .join("\n        ");
}

/** The step's elements at, at + 1, … at + 3 from the lanes that hold them, `each` a lane. */
function handed(name: string, at: number, each: number): string {
  const parts = range(4 / each).map((i) => `subgroupBroadcast(${name}, ${at / each + i}u)`);
  return parts.length === 1 ? parts[0] : `vec4f(${parts.join(", ")})`;
}

/** WGSL that adds a variable up over the lanes of a subgroup. */
export const shuffledSum = (name: string, lanes: number): string =>
  range(Math.log2(lanes))
    .map((i) => `${name} += subgroupShuffleXor(${name}, ${2 ** i}u);`)
    .join(" ");
