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

/** Few rows by lanes that walk lines of B (columns of C) of their own along k, and hand the rows round. */
export interface LineStep {
  b: Scalar;
  /** Of a subgroup, which is a workgroup. */
  lanes: number;
  /** Rows, a power of two. */
  few: number;
  /** Lines of a lane. */
  lines: number;
}

/**
 * What a step along k takes: `quads` of A from each lane, the rows of a quad by neighbours, then the next quad; and `inner` loads of each
 * line of B, which use these up.
 */
export function stepOf({ b, lanes, few }: LineStep): { quads: number; inner: number } {
  const met = few * (perLoad(b) / 4); // quads of A by a load of B
  return met < lanes ? { quads: 1, inner: lanes / met } : { quads: met / lanes, inner: 1 };
}

/**
 * WGSL that adds a step's products to `sum`r_l, of row r and line l: loads of B (`load`) times the quads y0, y1, … that the lanes hold.
 * Several loads of a line are a loop; `zero` is 0, which the compiler must not know: on a CPU the machine code of few loads is all that
 * fits where decoded instructions are kept.
 */
export function lineStep(step: LineStep, load: (line: number, at: string) => string): string {
  const { b, lanes, few } = step;
  const lines = range(step.lines);
  const quads = range(perLoad(b) / 4);
  const { inner } = stepOf(step);
  const handed = (slot: number) =>
    inner > 1
      ? `subgroupShuffle(y0, i * ${quads.length * few}u + ${slot}u)`
      : `subgroupBroadcast(y${Math.floor(slot / lanes)}, ${slot % lanes}u)`;
  const row = (r: number) => {
    const own = quads.map((q) => `let a${q} = ${handed(q * few + r)};`);
    const sum = (l: number) => `sum${r}_${l} += ${quads.map((q) => `dot(a${q}, b${l}_${q})`).join(" + ")};`;
    return `{ ${own.join(" ")} ${lines.map(sum).join(" ")} }`;
  };
  const products = (at: string) => `
        ${lines.map((l) => loadQuads(b, `b${l}`, load(l, at))).join(" ")}
        ${range(few).map(row).join("\n        ")}`;
  return inner > 1 ? `for (var i = 0u; i < ${inner}u + zero; i++) { ${products("at + i")} }` : products("at");
}

/**
 * The same for one row and line, as part of a larger kernel, where a loop in the loop costs more than it saves: adds to `sum` what a step of
 * `loads` loads of B comes to. Lanes hold two neighbouring elements of the row each, `y`.
 */
export function columnStep(b: Scalar, loads: number, load: (i: number) => string): string {
  const quads = range(perLoad(b) / 4);
  const handed = (at: number) => `vec4f(subgroupBroadcast(y, ${at / 2}u), subgroupBroadcast(y, ${at / 2 + 1}u))`;
  const term = (i: number, q: number) => `dot(${handed(i * perLoad(b) + 4 * q)}, b${i}_${q})`;
  return range(loads)
    .map((i) => `{ ${loadQuads(b, `b${i}`, load(i))} sum += ${quads.map((q) => term(i, q)).join(" + ")}; }`)
    .join("\n        ");
}

/** WGSL that adds a variable up over the lanes of a subgroup, or over those that are a multiple of `apart` from each other. */
export const shuffledSum = (name: string, lanes: number, apart = 1): string =>
  range(Math.log2(lanes / apart))
    .map((i) => `${name} += subgroupShuffleXor(${name}, ${apart * 2 ** i}u);`)
    .join(" ");
