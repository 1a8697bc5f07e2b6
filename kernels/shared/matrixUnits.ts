import type { MatrixShape, Target } from "../../framework/device/kernel.ts";

/** What a matrix kernel is compiled for: the fragments that a subgroup multiplies, and the subgroup's lanes. */
export interface MatrixUnit extends MatrixShape {
  lanes: number;
}

/** One as a tuning value, two digits each for lanes, m, n and k: NVIDIA's is 32161616. */
export const unitCode = ({ lanes, m, n, k }: MatrixUnit): number => ((lanes * 100 + m) * 100 + n) * 100 + k;

export const unitOf = (code: number): MatrixUnit => ({
  lanes: Math.floor(code / 1e6),
  m: Math.floor(code / 1e4) % 100,
  n: Math.floor(code / 100) % 100,
  k: code % 100,
});

/** The adapter's, or 0 where it has none that WGSL reaches. */
export const targetUnit = ({ matrix, subgroupSize }: Target): number =>
  matrix && subgroupSize ? unitCode({ lanes: subgroupSize, ...matrix }) : 0;

/** NVIDIA, AMD in waves of 32 and 64, Apple, Intel, and llvmpipe from Mesa 26 on. */
export const matrixUnits = [32161616, 64161616, 32080808, 32081616, 16081616, 8081616, 8080808] as const;

/**
 * WGSL types of the fragments: `Left` m × k, `Right` k × n, `Sum` m × n. The type's numbers are columns, then rows.
 * Loads and stores take offset and stride in elements of the array that they touch, here vectors; those need not be of the fragment's type.
 * Kernels that use them leave subgroup functions alone: a module with both crashed NVIDIA's compiler (driver 595.58).
 */
export const fragmentTypes = ({ m, n, k }: MatrixUnit): string => `
    alias Left = subgroup_matrix_left<f16, ${k}, ${m}>;
    alias Right = subgroup_matrix_right<f16, ${n}, ${k}>;
    alias Sum = subgroup_matrix_result<f32, ${n}, ${m}>;`;

/**
 * Sums begin as a product, of zeros: so Mesa's compiler for NVIDIA's cards gives each four registers side by side. Where they begin as
 * constants it may scatter them, and moves them together at each step (300 moves for 32 multiplications).
 */
export const zeros = "subgroupMatrixMultiplyAccumulate(Left(), Right(), Sum())";

/** Splits `count` subgroups over a tile as evenly as fragments allow: the fewest lines that each of them reads. */
export function splitTile(rows: number, columns: number, count: number, { m, n }: MatrixUnit) {
  let best: { down: number; across: number; rows: number; columns: number } | undefined;
  for (let down = 1; down <= count; down++) {
    const split = { down, across: count / down, rows: rows / down, columns: (columns * down) / count };
    if (count % down || split.rows % m || split.columns % n) continue;
    if (!best || split.rows + split.columns < best.rows + best.columns) best = split;
  }
  return best;
}
