import type { AttentionShape, AttentionTuning } from "./attention.ts";
import { unitOf } from "./matrixUnits.ts";

/**
 * How attention on matrix units is cut up. A workgroup keeps `rows` rows of one side as fragments in registers, a fragment's
 * height for each subgroup; `block` rows of the other side pass by in shared memory. Scores go through shared memory, where each of a
 * row's lanes takes some of them, and come back as weights in f16. Dao 2023, arXiv:2307.08691
 */
export interface Block {
  /** Fragments: m × k times k × n. */
  m: number;
  n: number;
  k: number;
  subgroup: number;
  subgroups: number;
  rows: number;
  block: number;
  lanes: number;
  /** Lanes that share a row. */
  parts: number;
  /** Vectors of eight elements of a head, and with zeros up to whole fragments. */
  eights: number;
  wide: number;
  /** Vectors from one line to the next in slices and weights (of eight), and scratch (of four): padded, so that lines start in different banks. */
  sliceLine: number;
  weightLine: number;
  scratchLine: number;
}

export function blockOf({ headDim }: AttentionShape, { rows, block, lanes, unit }: AttentionTuning): Block {
  const { lanes: subgroup, m, n, k } = unitOf(unit);
  const wide = (Math.ceil(headDim / Math.max(n, k)) * Math.max(n, k)) / 8;
  return {
    ...{ m, n, k, subgroup, subgroups: lanes / subgroup, rows, block, lanes, parts: subgroup / m },
    ...{ eights: headDim / 8, wide, sliceLine: wide + 1, weightLine: block / 8 + 1, scratchLine: block / 4 + 1 },
  };
}

/** How many arrays of each kind a kernel has in shared memory. */
export interface Uses {
  slices: number;
  scratches: number;
  weights: number;
}

/** Whether the numbers divide each other as the kernels need it, in as much shared memory as there is. */
export function fits(shape: AttentionShape, tuning: AttentionTuning, uses: Uses, sharedBytes: number): boolean {
  const tile = blockOf(shape, tuning);
  const { m, n, k, subgroups, rows, block, parts, sliceLine, weightLine, scratchLine } = tile;
  const whole = [subgroups, parts, block / n, block / k, block / 8 / parts];
  if (!whole.every((x) => Number.isInteger(x) && x > 0) || rows !== subgroups * m || block > 64) return false;
  const vectors = uses.slices * Math.max(block, rows) * sliceLine + uses.weights * rows * weightLine;
  return 16 * vectors + 16 * uses.scratches * rows * scratchLine + 4 * rows * parts + 16 * block <= sharedBytes;
}
