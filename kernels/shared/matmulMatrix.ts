import type { Target } from "../../framework/device/kernel.ts";
import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { finish, finishFunctions, roundBytes } from "./matmulMatrixEnd.ts";
import { bounds, range, strips } from "./matmulParts.ts";
import { fragmentTypes, splitTile, targetUnit, unitOf, zeros } from "./matrixUnits.ts";

const PAD = 16; // bytes behind a line of a slice, so that the lines that a fragment reads lie in different banks

/** How a tile is cut up, all of it known when the kernel is compiled. */
function plan(shape: MatmulShape, tuning: MatmulTuning) {
  const { tileRows, tileColumns, lanes, step, unit: code, split } = tuning;
  const { layout, wideA, wideB } = shape;
  const unit = unitOf(code);
  const subgroups = lanes / unit.lanes;
  const share = splitTile(tileRows, tileColumns, subgroups, unit);
  const width = loadsEight(shape, tuning) ? 8 : 4;
  const slice = (name: "A" | "B", count: number, alongK: boolean, wide: boolean): Slice => {
    const [lines, length] = alongK ? [count, step] : [step, count];
    const [vectors, stride] = [length / width, (length + PAD / 2) / width];
    return { name, alongK, wide, width, lines, vectors, stride, size: lines * stride };
  };
  const a = slice("A", tileRows, layout !== "TN", wideA);
  const b = slice("B", tileColumns, layout === "NT", wideB);
  const sliceBytes = 2 * 2 * width * (a.size + b.size);
  const words: 2 | 4 = width === 8 ? 4 : 2;
  const finished = share && { unit, subgroups, rows: share.rows, columns: share.columns, split, sliceBytes, words };
  return { unit, subgroups, share, a, b, sliceBytes, finished };
}

/** Whether the lanes load eight elements of A and B at once. */
export function loadsEight({ eightA, eightB }: MatmulShape, tuning: MatmulTuning): boolean {
  const { tileRows, tileColumns, lanes, step, unit } = tuning;
  const { m, n, k } = unitOf(unit);
  const divides = [m, n, k].every((size) => size % 8 === 0);
  return eightA && eightB && divides && [tileRows, tileColumns].every((count) => (count * step) % (8 * lanes) === 0);
}

/** Bytes of shared memory, or 0 where the numbers do not divide each other. */
export function matrixBytes(shape: MatmulShape, tuning: MatmulTuning): number {
  const { lanes, step } = tuning;
  const { unit, subgroups, a, b, sliceBytes, finished } = plan(shape, tuning);
  if (!finished || !Number.isInteger(subgroups) || step % unit.k || lanes % unit.lanes) return 0;
  if ([a, b].some(({ lines, vectors }) => (lines * vectors) % lanes || lanes % vectors)) return 0;
  return Math.max(sliceBytes, roundBytes(finished));
}

/** Whether the adapter has the unit, the operands suit it, and the slices fit into shared memory. */
export function validMatrix(shape: MatmulShape, tuning: MatmulTuning, target: Target): boolean {
  if (!tuning.unit || tuning.unit !== targetUnit(target) || shape.a !== "f16" || shape.b !== "f16") return false;
  const bytes = matrixBytes(shape, tuning);
  return bytes > 0 && bytes <= target.sharedBytes;
}

/** What to begin with, the largest first. */
export const matrixTiles = [
  { tileRows: 128, tileColumns: 128, lanes: 256, step: 32 },
  { tileRows: 64, tileColumns: 64, lanes: 128, step: 32 },
];

/**
 * A workgroup computes `tileRows` × `tileColumns` of C on matrix units: its subgroups share the tile, and each multiplies fragments out of
 * slices of A and B in shared memory, `step` elements of k at a time. While they multiply one slice, every lane has its part of the next
 * on the way from memory in registers. What is finished goes through the same shared memory. With `split` > 1 that many workgroups share k,
 * and leave partial sums to `matmulJoin`.
 */
export function matrixMatmul(shape: MatmulShape, tuning: MatmulTuning): string {
  const { tileRows, tileColumns, lanes, step, split } = tuning;
  const { unit, subgroups, share, a, b, finished } = plan(shape, tuning);
  if (!share || !finished)
    throw new RangeError(`matmul: ${subgroups} subgroups do not divide a tile of ${tileRows} × ${tileColumns}`);
  const down = range(share.rows / unit.m);
  const across = range(share.columns / unit.n);
  const sums = down.flatMap((i) => across.map((j) => `sum${i}_${j}`));
  const firstRow = `subgroup / ${share.across}u * ${share.rows}u`;
  const firstColumn = `subgroup % ${share.across}u * ${share.columns}u`;
  const multiply = (kk: number) => `
        ${down.map((i) => `let a${i}_${kk} = ${fragmentOf("Left", a, "beginA", i * unit.m, kk)};`).join("\n        ")}
        ${across
          .map(
            (j) => `let b${j}_${kk} = ${fragmentOf("Right", b, "beginB", j * unit.n, kk)};
        ${down.map((i) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}_${kk}, b${j}_${kk}, sum${i}_${j});`).join(" ")}`,
          )
          .join("\n        ")}`;
  const begin = ({ alongK, stride, width }: Slice, first: string) =>
    alongK ? `(${first}) * ${stride}u` : `(${first}) / ${width}u`;
  const vector = a.width === 8 ? "vec4u" : "vec2u";
  return `
    ${fragmentTypes(unit)}
    ${a.wide && b.wide ? "" : strips(shape, "f16")}
    ${finishFunctions(shape, finished)}
    var<workgroup> slices: array<${vector}, ${matrixBytes(shape, tuning) / (2 * a.width)}>; // A's, B's, two of each; in the end sums

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let matrix = group.z / ${split}u;
      let part = group.z % ${split}u;
      ${bounds(shape, "matrix")}
      let share = ${split > 1 ? `(k + ${split * step - 1}u) / ${split * step}u * ${step}u` : "k"};
      let origin = part * share;
      let end = min(k, origin + share);
      let tileRow = group.y * ${tileRows}u;
      let tileColumn = group.x * ${tileColumns}u;
      let subgroup = lane / ${unit.lanes}u % ${subgroups}u;
      let beginA = ${begin(a, firstRow)};
      let beginB = ${2 * a.size}u + ${begin(b, firstColumn)};
      ${sums.map((sum) => `var ${sum} = ${zeros};`).join(" ")}
      ${places(a, "tileRow", "m", 0)}
      ${places(b, "tileColumn", "n", 2 * a.size)}
      {
        let next = origin;
        ${fetch(a, lanes, "m")}
        ${fetch(b, lanes, "n")}
        ${keep(a, lanes, "0u")}
        ${keep(b, lanes, "0u")}
      }
      workgroupBarrier();
      for (var at = origin; at < end; at += ${step}u) {
        let half = (at - origin) / ${step}u % 2u;
        let next = at + ${step}u;
        ${fetch(a, lanes, "m")}
        ${fetch(b, lanes, "n")}
        ${range(step / unit.k)
          .map((kk) => multiply(kk * unit.k))
          .join("")}
        ${keep(a, lanes, `(1u - half) * ${a.size}u`)}
        ${keep(b, lanes, `(1u - half) * ${b.size}u`)}
        workgroupBarrier();
      }
      let row = tileRow + ${firstRow};
      let column = tileColumn + ${firstColumn};
      ${finish(shape, finished)}
    }`;
}

interface Slice {
  name: "A" | "B";
  /** Whether a line runs along k; otherwise along the rows or columns of C. */
  alongK: boolean;
  /** Whether it is bound as vectors; otherwise its elements are loaded one by one. */
  wide: boolean;
  /** Elements of a vector, which a lane moves at once. */
  width: 4 | 8;
  lines: number;
  /** Vectors of a line, without and with the pad behind it. */
  vectors: number;
  stride: number;
  size: number;
}

/** The fragment of the lines `line`… and the steps `kk`… of the half of a slice that is being multiplied. */
function fragmentOf(type: "Left" | "Right", slice: Slice, begin: string, line: number, kk: number) {
  const { alongK, stride, size, width } = slice;
  const at = alongK ? line * stride + kk / width : kk * stride + line / width;
  const major = alongK === (type === "Left") ? "row_major" : "col_major";
  return `subgroupMatrixLoad<${type}, ${major}>(&slices, half * ${size}u + ${begin} + ${at}u, ${stride}u)`;
}

/** The lane's vectors of a slice: `lines` further down each, the place along the line is the same. */
const perLane = ({ lines, vectors }: Slice, lanes: number) =>
  range((lines * vectors) / lanes).map((i) => ({ i, lines: (i * lanes) / vectors }));

/** Where the lane's first vector comes from and goes to, `first` being the slices' begin: no step of the loop changes that. */
function places(
  { name, alongK, wide, vectors, stride, width }: Slice,
  tile: string,
  size: string,
  first: number,
): string {
  const [line, along] = [`lane / ${vectors}u`, `lane % ${vectors}u * ${width}u`];
  const start = alongK ? `start${name} + (${tile} + ${line}) * k` : `${tile} + ${along}`;
  const begin = alongK ? `${start} + ${along}` : `start${name} + ${line} * ${size} + ${start}`;
  return `let step${name} = ${alongK ? along : line};
      let from${name} = ${wide ? `(${begin}) / ${width}u` : start};
      let to${name} = ${first}u + ${line} * ${stride}u + lane % ${vectors}u;`;
}

/** Loads the lane's part of the slice at step `next` into registers. Behind C's rows and columns it may be any number. */
function fetch(slice: Slice, lanes: number, size: string): string {
  const { name, alongK, wide, width } = slice;
  const loads = perLane(slice, lanes).map(({ i, lines }) => {
    const single = alongK
      ? `strip${name}(from${name} + ${lines}u * k, next + step${name}, k)`
      : `strip${name}(start${name} + (next + step${name} + ${lines}u) * ${size}, from${name}, ${size})`;
    const ahead = alongK ? `next + ${lines}u * k` : `(next + ${lines}u) * ${size}`;
    return `let next${name}${i} = ${wide ? `${name.toLowerCase()}[from${name} + (${ahead}) / ${width}u]` : single};`;
  });
  return loads.join("\n        ");
}

/** Puts them into shared memory, zeros behind the workgroup's share of k; nobody waits for the loads before that. */
function keep(slice: Slice, lanes: number, half: string): string {
  const { name, alongK, width, stride } = slice;
  const stores = perLane(slice, lanes).map(({ i, lines }) => {
    const value = width === 8 ? `next${name}${i}` : `bitcast<vec2u>(next${name}${i})`;
    const inside = `next + step${name}${alongK ? "" : ` + ${lines}u`} < end`;
    return `slices[${half} + to${name} + ${lines * stride}u] = select(vec${width / 2}u(), ${value}, ${inside});`;
  });
  return stores.join("\n        ");
}
