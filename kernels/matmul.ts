import {
  type Kernel,
  kernel,
  type Scalar,
  type Target,
  type Uniforms,
  type Workgroups,
} from "../framework/device/kernel.ts";
import { matmulJoin } from "./matmulJoin.ts";
import { broadcastMatmul } from "./shared/matmulBroadcast.ts";
import { dotMatmul } from "./shared/matmulDot.ts";
import { loadsEight, matrixMatmul, matrixTiles, validMatrix } from "./shared/matmulMatrix.ts";
import { storesEight } from "./shared/matmulMatrixEnd.ts";
import { epilogueBindings } from "./shared/matmulParts.ts";
import { tiledMatmul, validTiles } from "./shared/matmulTiles.ts";
import { matrixUnits, targetUnit, unitOf } from "./shared/matrixUnits.ts";

/** One product C = alpha · op(A) · op(B), with what is added to it. All matrices are row-major and contiguous. */
export interface MatmulCall {
  /** NN: A [m, k], B [k, n]. NT: A [m, k], B [n, k] (a linear layer). TN: A [k, m], B [k, n] (a weight's gradient). */
  layout: "NN" | "NT" | "TN";
  m: number;
  n: number;
  k: number;
  batch: number;
  /** Elements from one matrix of the batch to the next; 0 uses the same one for all. C's are always m · n apart. */
  strideA: number;
  strideB: number;
  /** f32 or f16; sums are always f32. */
  a: Scalar;
  b: Scalar;
  c: Scalar;
  /** c += instead of c = */
  accumulate?: boolean;
  /** Adds bias [n] (f32) to every row. */
  bias?: boolean;
  /** Adds `residual`, which lies as C does and is of its dtype. */
  residual?: boolean;
  alpha?: number;
  /** Which matrices meet is told by a table, u32 `matrices`; see {@link MatmulShape.grouped}. */
  grouped?: MatmulShape["grouped"];
  /** Elements from one matrix of C to the next, for `segments`. */
  strideC?: number;
}

/** What is compiled in. Sizes are uniforms, so that a pipeline serves all shapes of its alignment class. */
export interface MatmulShape {
  [name: string]: string | boolean | number;
  layout: MatmulCall["layout"];
  a: Scalar;
  b: Scalar;
  c: Scalar;
  accumulate: boolean;
  bias: boolean;
  residual: boolean;
  /**
   * `tiles`: entry i of the batch takes B's matrix `matrices[i]`; where that is 0xffffffff nothing is computed, and C is open. `segments` (TN): matrix i is the
   * product of rows `matrices[i]` to `matrices[i + 1]` of A and B, multiples of four; k is what to expect of them.
   */
  grouped: "" | "tiles" | "segments";
  /** Where C has few rows, 1, 2, 4, 8 or 16 that hold them; otherwise 0. */
  few: number;
  /** Whether lines start at multiples of four elements, so that the matrix binds as vec4. */
  wideA: boolean;
  wideB: boolean;
  wideC: boolean;
  /** Whether they start at multiples of eight, and are of f16. */
  eightA: boolean;
  eightB: boolean;
  eightC: boolean;
  /** Whether k is no multiple of four: the last step is then filled up with zeros. */
  tail: boolean;
}

/** A point of one of the families in `tuning`; each has parameters of its own beside these. */
export interface MatmulTuning {
  [name: string]: number;
  /** 0: a subgroup's lanes hand operands round. 1: tiles in shared memory. 2: few rows, lanes share k. 3: matrix units. */
  variant: number;
}

const BROADCAST = 0;
const TILES = 1;
const DOT = 2;
const MATRIX = 3;
const MAX_GROUPS = 32768; // along one dimension; what is more goes to the next

/** `lanes` of a workgroup: in variant 0 the adapter's subgroup. */
const broadcasts = { variant: [BROADCAST], rows: [16, 32, 8, 4, 2, 1], lanes: [8, 4, 16, 32, 64, 128] };
/** `shuffle`: the workgroup is one subgroup, which joins its sums by shuffles. */
const dots = { variant: [DOT], rows: [1, 2, 4, 8], lanes: [64, 32, 16, 8], shuffle: [0, 1] };
/**
 * See `tiledMatmul`. `rows` × `columns` of a lane in a tile; `ahead`: the next slice is fetched while one is multiplied; `split`: of k;
 * `halves`: slices are f16, where both operands are.
 */
const tiles = {
  variant: [TILES],
  ...{ tileRows: [128, 64, 32], tileColumns: [128, 64, 32], rows: [8, 4], columns: [8, 4] },
  ...{ step: [16, 8, 32], ahead: [1, 0], split: [1, 2, 4, 8, 16], halves: [0, 1] },
};

/** See `matrixMatmul`. */
const matrices = {
  variant: [MATRIX],
  ...{ tileRows: [128, 64, 256], tileColumns: [128, 64, 256], lanes: [256, 128] },
  ...{ step: [32, 16], split: tiles.split, unit: matrixUnits },
};

/** CPUs lose with tiles of any kind (10 GFLOP/s for 60): one is enough, for those without subgroups. */
const cpuTile = {
  ...{ variant: TILES, tileRows: 64, tileColumns: 64, rows: 8, columns: 4 },
  ...{ step: 16, ahead: 0, split: 1, halves: 0 },
};

function valid(shape: MatmulShape, tuning: MatmulTuning, target: Target): boolean {
  const { layout, few, wideA } = shape;
  const { variant, rows, lanes } = tuning;
  if (variant === BROADCAST) {
    const strips = layout !== "TN" || !wideA || rows >= 4; // down A, rows are loaded four at a time
    return target.subgroups && target.subgroupSize === lanes && rows <= 4 * lanes && strips;
  }
  if (variant === MATRIX) return validMatrix(shape, tuning, target);
  if (variant === DOT) {
    const joins = tuning.shuffle ? target.subgroups && target.subgroupSize === lanes : lanes >= 32;
    return layout === "NT" && few > 0 && few <= 8 && rows === few && joins && rows <= lanes;
  }
  const onlyTile = Object.entries(cpuTile).every(([name, value]) => tuning[name] === value);
  return validTiles(shape, tuning, target) && (target.class !== "software" || onlyTile);
}

/**
 * On a CPU the fewest loads per multiplication win; on a GPU shared memory and enough lanes. 32 rows a lane gain 10 to 20% over
 * 16 where lines are aligned, and lose where k is so short that the stores count.
 */
function pick(shape: MatmulShape, target: Target, rounded?: Uniforms): MatmulTuning {
  const { layout, few, wideA, wideB, wideC, tail } = shape;
  const { subgroupSize: lanes } = target;
  if (target.class === "software" && target.subgroups && lanes >= 4) {
    // One row reads all of B and little else, in order; more rows gain by A's being handed round.
    if (layout === "NT" && few === 1 && lanes >= 8) return { variant: DOT, rows: 1, lanes, shuffle: 1 };
    const tall = wideA && wideB && wideC && !tail && lanes >= 8 && (rounded?.k ?? large.k) > 64;
    return { variant: BROADCAST, rows: few || (tall ? 32 : 16), lanes };
  }
  if (layout === "NT" && few > 0 && few <= 8) return { variant: DOT, rows: few, lanes: 64, shuffle: 0 };
  if (target.class === "software") return cpuTile;
  const unit = few ? 0 : targetUnit(target);
  const units = matrixTiles.map((tile) => ({ variant: MATRIX, ...tile, unit, split: 1 }));
  const fitting = units.filter((tuning) => validMatrix(shape, tuning, target));
  return pickTile(shape, fitting.length ? fitting : tilesFor(target), target, rounded);
}

const FILL = 128; // workgroups that keep a large GPU busy
const LEAST_K = 512; // steps of k that a workgroup should have where k is split
const MOST_PARTS = 2 ** 24; // elements of partial sums

/** The largest tile that gives enough workgroups, k being split where it is long; two slices where shared memory holds them. */
function pickTile(
  shape: MatmulShape,
  choice: MatmulTuning[],
  target: Target,
  { m, n, k, batch }: Uniforms = large,
): MatmulTuning {
  const low = choice.filter(({ tileRows }) => !shape.grouped || tileRows <= m);
  const choices = (low.length ? low : choice.slice(-1)).map((tile) => {
    const groups = Math.ceil(m / tile.tileRows) * Math.ceil(n / tile.tileColumns) * batch;
    const enough = (split: number) => groups * split >= FILL;
    const useful = (split: number) => split === 1 || (k / split >= LEAST_K && m * n * batch * split <= MOST_PARTS);
    const splits = tiles.split.filter(useful);
    const split = splits.find(enough) ?? splits[splits.length - 1];
    const tuning = { ...tile, split };
    const fitting = valid(shape, tuning, target) ? tuning : { ...tuning, ahead: 0 };
    return { tuning: fitting, enough: enough(split) };
  });
  return (choices.find(({ enough }) => enough) ?? choices[choices.length - 1]).tuning;
}

const large: Uniforms = { m: 4096, n: 4096, k: 4096, batch: 1 };
const largeTile = { tileRows: 128, tileColumns: 128, rows: 8, columns: 8 };
const mediumTile = { tileRows: 64, tileColumns: 64, rows: 8, columns: 4 };
const smallTile = { tileRows: 32, tileColumns: 32, rows: 4, columns: 4 };

/** The largest first; where registers are few not the one of 64 sums a lane. */
function tilesFor({ narrowSubgroup }: Target): MatmulTuning[] {
  const tiles = narrowSubgroup ? [mediumTile, smallTile] : [largeTile, mediumTile, smallTile];
  return tiles.map((tile) => ({ variant: TILES, ...tile, step: 16, ahead: 1, halves: 0 }));
}

function workgroups(_: MatmulShape, tuning: MatmulTuning, { m, n, batch }: Uniforms): Workgroups {
  const { variant, rows, lanes, tileRows, tileColumns, split } = tuning;
  if (variant === BROADCAST) return [Math.ceil(n / (4 * lanes)), Math.ceil(m / rows), batch];
  if (variant === TILES || variant === MATRIX)
    return [Math.ceil(n / tileColumns), Math.ceil(m / tileRows), batch * split];
  const groups = m === 0 ? 0 : Math.ceil(n / 4);
  return [Math.min(groups, MAX_GROUPS), Math.ceil(groups / MAX_GROUPS), batch];
}

const bindAs = (wide: boolean, type: Scalar) => (wide ? `vec4<${type}>` : type);

/** f16 goes two to a word where the variant unpacks it by itself. */
function operandTypes(shape: MatmulShape, tuning: MatmulTuning) {
  const { a, b, c, wideA, wideB, wideC } = shape;
  const matrix = tuning.variant === MATRIX;
  const eight = matrix && loadsEight(shape, tuning);
  const eightC = matrix && storesEight(shape, tuning.split, unitOf(tuning.unit));
  const words = tuning.variant === BROADCAST;
  const bind = (type: Scalar, wide: boolean, eight: boolean) =>
    eight ? "halves8" : wide && words && type === "f16" ? "halves4" : bindAs(wide, type);
  const ofC = eightC ? "halves8" : bindAs(wideC, c);
  return { a: bind(a, wideA, eight), b: bind(b, wideB, eight), c: ofC, residual: ofC };
}

const bytesOf = (type: Scalar) => (type === "f16" ? 2 : 4);

/** C [batch, m, n] = alpha · op(A) · op(B) (+ bias) (+ residual) (+ C). Launch it through {@link matmulLaunch}. */
export const matmul = kernel<MatmulShape, MatmulTuning>({
  name: "matmul",
  bindings: (shape, { split = 1 }) => ({
    ...{ a: "read", b: "read" },
    ...(shape.grouped ? { matrices: "read" as const } : {}),
    ...(split > 1 ? { parts: "write" } : epilogueBindings(shape)),
  }),
  types: (shape, tuning) => ({
    ...operandTypes(shape, tuning),
    bias: bindAs(shape.wideC, "f32"),
    parts: bindAs(shape.wideC, "f32"),
    matrices: "u32",
  }),
  uniforms: {
    ...{ m: "u32", n: "u32", k: "u32", batch: "u32", alpha: "f32" },
    ...{ strideA: "u32", strideB: "u32", strideC: "u32" },
  },
  manyRegisters: true,
  sizes: ["m", "n", "k", "batch"],
  tuning: [broadcasts, tiles, dots, matrices],
  valid,
  pick,
  workgroups,
  cost: ({ a, b, c, accumulate, residual }, { m, n, k, batch }) => ({
    flops: 2 * m * n * k * batch,
    bytes: batch * (m * k * bytesOf(a) + n * k * bytesOf(b) + m * n * bytesOf(c) * (accumulate || residual ? 2 : 1)),
  }),
  join: (shape, { split = 1 }) =>
    split > 1
      ? {
          kernel: matmulJoin as unknown as Kernel,
          shape: { ...shape, split },
          bytes: ({ m, n, batch }) => 4 * split * batch * m * n,
        }
      : undefined,
  wgsl: (shape, tuning) => [broadcastMatmul, tiledMatmul, dotMatmul, matrixMatmul][tuning.variant](shape, tuning),
});

/**
 * What to launch for a product: `gpu.launch(kernel, { a, b, c, bias?, residual? }, shape, uniforms)`. Where m, n or batch is 0
 * nothing is launched; k = 0 writes zeros (plus bias and residual), or adds nothing.
 * @throws RangeError where a size or stride is not a whole number that a u32 holds
 * @throws TypeError where a dtype is neither f32 nor f16
 */
export function matmulLaunch(call: MatmulCall): { kernel: typeof matmul; shape: MatmulShape; uniforms: Uniforms } {
  const { layout, m, n, k, batch, strideA, strideB, a, b, c, accumulate = false, bias = false, alpha = 1 } = call;
  const { residual = false, grouped = "", strideC = m * n } = call;
  const sizes = { m, n, k, batch, strideA, strideB, strideC };
  for (const name in sizes) {
    const value = sizes[name as keyof typeof sizes];
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff)
      throw new RangeError(`matmul: ${name} is ${value}, expected a whole number from 0 to 4294967295`);
  }
  const types = { a, b, c };
  for (const name in types) {
    const type = types[name as keyof typeof types];
    if (type !== "f32" && type !== "f16")
      throw new TypeError(`matmul: ${name} is ${type}, expected f32 or f16; cast it first`);
  }
  const lineA = layout === "TN" ? m : k;
  const lineB = layout === "NT" ? k : n;
  const shape: MatmulShape = {
    layout,
    a,
    b,
    c,
    accumulate,
    bias,
    residual,
    grouped,
    few: [1, 2, 4, 8, 16].find((rows) => m <= rows) ?? 0,
    wideA: lineA % 4 === 0 && strideA % 4 === 0,
    wideB: lineB % 4 === 0 && strideB % 4 === 0,
    eightA: a === "f16" && lineA % 8 === 0 && strideA % 8 === 0,
    eightB: b === "f16" && lineB % 8 === 0 && strideB % 8 === 0,
    eightC: c === "f16" && n % 8 === 0 && strideC % 8 === 0,
    wideC: n % 4 === 0 && strideC % 4 === 0,
    tail: grouped !== "segments" && k % 4 !== 0,
  };
  return { kernel: matmul, shape, uniforms: { m, n, k, batch, strideA, strideB, strideC, alpha } };
}
