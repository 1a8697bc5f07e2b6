import type { MatmulShape } from "../matmul.ts";
import { range, store } from "./matmulParts.ts";
import { storePart } from "./matmulTiles.ts";
import type { MatrixUnit } from "./matrixUnits.ts";

/** A tile whose sums are done: each subgroup has `rows` × `columns` of it, in fragments `sum0_0`, `sum0_1`, … */
export interface Finished {
  unit: MatrixUnit;
  subgroups: number;
  rows: number;
  columns: number;
  /** Workgroups that share k: with more than one, sums go to `parts`. */
  split: number;
  /** Bytes of shared memory that held slices, and words of its vectors. */
  sliceBytes: number;
  words: 2 | 4;
}

/** Vectors of four sums behind a line of a fragment, and behind a fragment: lanes that write or read together meet different banks. */
const PAD = { line: 1, fragment: 4 };

/**
 * How sums pass through shared memory: in rounds, of each subgroup `bands` rows of fragments at once, as many as take little more than the
 * slices did. A fragment, its lines and all `vectors` of a subgroup are so many vectors of four sums.
 */
function roundsOf({ unit, subgroups, rows, columns, sliceBytes }: Finished) {
  const [down, across] = [rows / unit.m, columns / unit.n];
  const line = unit.n / 4 + PAD.line;
  const fragment = unit.m * line + PAD.fragment;
  const fits = (bands: number) => down % bands === 0 && 16 * subgroups * bands * across * fragment <= 1.25 * sliceBytes;
  const bands = range(down + 1).findLast(fits) || 1;
  return { down, across, line, fragment, bands, vectors: bands * across * fragment };
}

/** Bytes of shared memory that the rounds take. */
export const roundBytes = (tile: Finished): number => 16 * tile.subgroups * roundsOf(tile).vectors;

/** Whether C, of f16, is stored by eights. */
export const storesEight = ({ eightC }: MatmulShape, split: number, { n }: MatrixUnit): boolean =>
  eightC && split === 1 && n % 8 === 0;

/** WGSL of the functions that {@link finish} calls. */
export const finishFunctions = ({ wideC, ...shape }: MatmulShape, { split, words }: Finished): string => `
    fn sumsAt(at: u32) -> vec4f { return bitcast<vec4f>(${words === 4 ? "slices[at]" : "vec4u(slices[2u * at], slices[2u * at + 1u])"}); }
    ${wideC ? "" : split > 1 ? storePart({ wideC, ...shape }) : store({ wideC, ...shape })}`;

/**
 * WGSL: stores the subgroup's sums to C from `row` and `column` on, scaled, biased, added. WGSL does not open fragments, so they go through
 * shared memory; what is added to them is on its way meanwhile.
 */
export function finish(given: MatmulShape, tile: Finished): string {
  const { unit, split } = tile;
  const bare = { c: "f32", accumulate: false, bias: false, residual: false } as const;
  const shape = split > 1 ? { ...given, ...bare } : given;
  const matrix = split > 1 ? "part * u.batch + matrix" : "matrix";
  const first = shape.grouped === "segments" && split === 1 ? "matrix * u.strideC" : `(${matrix}) * m * n`;
  const { across, line, fragment, vectors, down, bands } = roundsOf(tile);
  const passes = passesOf(tile, storesEight(given, split, unit) ? 8 : 4);
  const { width, perLine } = passes[0];
  const biases = [...new Set(passes.map(({ right }) => right))].flatMap((right) =>
    range(width / 4).map((i) => `let bias${right}_${i} = bias[(column + laneColumn + ${right}u) / 4u + ${i}u];`),
  );
  const rounds = range(down / bands).map((i) => round(shape, tile, passes, matrix, i * bands));
  return `
      let own = lane % ${unit.lanes}u;
      let laneRow = own / ${perLine}u;
      let laneColumn = own % ${perLine}u * ${width}u;
      let start = ${first} + (row + laneRow) * n + column + laneColumn;
      let begin = subgroup * ${vectors}u;
      let laneSums = begin + laneRow / ${unit.m}u * ${across * fragment}u + laneRow % ${unit.m}u * ${line}u
        + laneColumn / ${unit.n}u * ${fragment}u + laneColumn % ${unit.n}u / 4u;
      ${shape.bias && shape.wideC ? biases.join(" ") : ""}
      ${rounds.join("\n      workgroupBarrier();\n      ")}`;
}

/** What a lane stores in a round: `width` elements each, so many rows below and columns right of its first, whose sums begin at `sums`. */
function passesOf(tile: Finished, width: 4 | 8) {
  const { unit, columns } = tile;
  const { across, line, fragment, bands } = roundsOf(tile);
  const perLine = columns / width;
  const all = bands * unit.m * perLine;
  return range(Math.ceil(all / unit.lanes)).map((pass) => {
    const [below, right] = [Math.floor((pass * unit.lanes) / perLine), ((pass * unit.lanes) % perLine) * width];
    const fragments = Math.floor(below / unit.m) * across + Math.floor(right / unit.n);
    const sums = fragments * fragment + (below % unit.m) * line + (right % unit.n) / 4;
    return { pass, below, right, sums, width, perLine, only: all < unit.lanes ? `own < ${all}u && ` : "" };
  });
}

/** WGSL: the bands from `first` on into shared memory, and out of it to C. */
function round(shape: MatmulShape, tile: Finished, passes: ReturnType<typeof passesOf>, matrix: string, first: number) {
  const { c, wideC, bias, residual, accumulate } = shape;
  const { unit, split, words } = tile;
  const { across, line, fragment, bands } = roundsOf(tile);
  const rows = first * unit.m;
  const toShared = range(bands * across).map((f) => {
    const sum = `sum${first + Math.floor(f / across)}_${f % across}`;
    return `subgroupMatrixStore<row_major>(&slices, (begin + ${f * fragment}u) * ${4 / words}u, ${sum}, ${(4 / words) * line}u);`;
  });
  const fetches = passes.map(({ pass, below, right, width }) => {
    const at = `let at${pass} = (start + ${rows + below}u * n + ${right}u) / ${width}u;`;
    return residual ? `${at} let residual${pass} = residual[at${pass}];` : at;
  });
  const stores = passes.map(({ pass, below, right, sums, width, only }) => {
    const [row, column] = [`row + laneRow + ${rows + below}u`, `column + laneColumn + ${right}u`];
    const four = (i: number) => {
      const old = (v: string) => (width === 8 ? `vec4f(bitcast<vec4<f16>>(${v}.${i ? "zw" : "xy"}))` : `vec4f(${v})`);
      return [
        `${split > 1 ? "" : "u.alpha * "}sumsAt(laneSums + ${sums + i}u)`,
        ...(bias ? [`bias${right}_${i}`] : []),
        ...(residual ? [old(`residual${pass}`)] : []),
        ...(accumulate ? [old(`c[at${pass}]`)] : []),
      ].join(" + ");
    };
    const eight = [0, 1].map((i) => `bitcast<vec2u>(vec4<f16>(${four(i)}))`);
    const vector = width === 8 ? `vec4u(${eight.join(", ")})` : `vec4<${c}>(${four(0)})`;
    const wide = `${split > 1 ? "parts" : "c"}[at${pass}] = ${vector};`;
    const narrow = `store(${row}, ${column}, ${matrix}, m, n, sumsAt(laneSums + ${sums}u));`;
    return `if (${only}${row} < m && ${column} < n) { ${wideC ? wide : narrow} }`;
  });
  return `{
        ${[...(wideC ? fetches : []), ...toShared].join("\n        ")}
        workgroupBarrier();
        ${stores.join("\n        ")}
      }`;
}
