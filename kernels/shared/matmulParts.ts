import type { Access, Scalar } from "../../framework/device/kernel.ts";
import type { MatmulShape } from "../matmul.ts";

/** 0, 1, … count - 1 */
export const range = (count: number): number[] => Array.from({ length: count }, (_, i) => i);

/** What a table of matrices holds where a tile has no matrix. */
export const NO_GROUP = 0xffffffff;

/**
 * WGSL: sizes as values, since a load from the uniform block costs as much as any other, and where A and B of the batch's entry `z`
 * begin, by {@link MatmulShape.grouped}. A tile without a matrix ends here.
 */
export function bounds({ grouped }: MatmulShape, z: string): string {
  const sizes = "let m = u.m; let n = u.n;";
  if (grouped === "segments")
    return `${sizes} let before = matrices[${z}]; let k = matrices[${z} + 1u] - before; let startA = before * m; let startB = before * n;`;
  const startA = `let k = u.k; let startA = ${z} * u.strideA;`;
  if (grouped === "tiles")
    return `${sizes} let chosen = matrices[${z}]; if (chosen == ${NO_GROUP}u) { return; } ${startA} let startB = chosen * u.strideB;`;
  return `${sizes} ${startA} let startB = ${z} * u.strideB;`;
}

/**
 * WGSL `stripA(start, at, size)` and `stripB`: four elements from `at` (a multiple of 4) of the line that starts at element
 * `start` and has `size` elements, as `type`. Those past the line's end are zero where the line runs along k, any number elsewhere.
 * @param words whether f16 is bound two to a word, as `halves4`
 */
export function strips({ layout, wideA, wideB, a, b }: MatmulShape, type: Scalar = "f32", words = false): string {
  const halves = (operand: Scalar) => words && operand === "f16";
  return (
    strip("A", "a", wideA, halves(a), layout !== "TN", type) + strip("B", "b", wideB, halves(b), layout === "NT", type)
  );
}

/** WGSL: the four f16 in two words, as f32. */
export const unpacked = (low: string, high: string): string =>
  `vec4f(unpack2x16float(${low}), unpack2x16float(${high}))`;

function strip(name: string, binding: string, wide: boolean, halves: boolean, alongK: boolean, type: Scalar): string {
  const signature = `fn strip${name}(start: u32, at: u32, size: u32) -> vec4<${type}>`;
  if (wide && halves)
    return `${signature} { let w = ${binding}[(start + at) >> 2u]; return vec4<${type}>(${unpacked("w.x", "w.y")}); }\n`;
  if (wide) return `${signature} { return vec4<${type}>(${binding}[(start + at) >> 2u]); }\n`;
  const element = (i: number) => {
    const value = `${type}(${binding}[start + at + ${i}u])`;
    return alongK ? `select(${type}(), ${value}, at + ${i}u < size)` : value;
  };
  return `${signature} { return vec4<${type}>(${range(4).map(element).join(", ")}); }\n`;
}

/** What {@link store} binds. */
export function epilogueBindings({ accumulate, bias, residual }: MatmulShape): Record<string, Access> {
  return {
    c: accumulate ? "update" : "write",
    ...(bias ? { bias: "read" } : {}),
    ...(residual ? { residual: "read" } : {}),
  };
}

/** WGSL `store(row, column, v)`: four finished sums to c, scaled, biased, added; nothing outside [m, n] is touched. */
export function store({ c, wideC, accumulate, bias, residual, grouped }: MatmulShape): string {
  const vector = wideC ? `vec4<${c}>` : c;
  const sum = wideC ? "vec4f" : "f32";
  const write = (at: string, column: string, value: string) => {
    const plus = bias ? ` + bias[${column}]` : "";
    const skip = residual ? ` + ${sum}(residual[${at}])` : "";
    const old = accumulate ? ` + ${sum}(c[${at}])` : "";
    return `c[${at}] = ${vector}(u.alpha * ${value}${plus}${skip}${old});`;
  };
  const body = wideC
    ? `if (column < n) { ${write("(start + column) >> 2u", "column >> 2u", "v")} }`
    : range(4)
        .map((i) => `if (column + ${i}u < n) { ${write(`start + column + ${i}u`, `column + ${i}u`, `v[${i}]`)} }`)
        .join(" ");
  return `
    fn store(row: u32, column: u32, matrix: u32, m: u32, n: u32, v: vec4f) {
      if (row >= m) { return; }
      let start = ${grouped === "segments" ? "matrix * u.strideC + row * n" : "(matrix * m + row) * n"};
      ${body}
    }`;
}
