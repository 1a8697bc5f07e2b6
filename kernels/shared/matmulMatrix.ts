import type { Target } from "../../framework/device/kernel.ts";
import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { bounds, range, store, strips } from "./matmulParts.ts";
import { storePart } from "./matmulTiles.ts";
import { fragmentTypes, splitTile, targetUnit, unitOf } from "./matrixUnits.ts";

const PAD = 2; // vectors behind a line of a slice, so that the lines that a fragment reads lie in different banks

/** How a tile is cut up, all of it known when the kernel is compiled. */
function plan({ layout }: MatmulShape, { tileRows, tileColumns, lanes, step, unit }: MatmulTuning) {
  const { lanes: subgroup, ...fragment } = unitOf(unit);
  const subgroups = lanes / subgroup;
  const slice = (count: number, alongK: boolean) => {
    const [lines, quads] = alongK ? [count, step / 4] : [step, count / 4];
    return { alongK, lines, quads, stride: quads + PAD, size: lines * (quads + PAD) };
  };
  return {
    subgroup,
    subgroups,
    fragment,
    split: splitTile(tileRows, tileColumns, subgroups, { lanes: subgroup, ...fragment }),
    a: slice(tileRows, layout !== "TN"),
    b: slice(tileColumns, layout === "NT"),
    scratch: (fragment.m * fragment.n) / 4, // vectors of a subgroup
  };
}

/** Bytes of shared memory, or 0 where the numbers do not divide each other. */
export function matrixBytes(shape: MatmulShape, tuning: MatmulTuning): number {
  const { lanes, step } = tuning;
  const { subgroup, subgroups, fragment, split, a, b, scratch } = plan(shape, tuning);
  const divides = Number.isInteger(subgroups) && split && step % fragment.k === 0 && lanes % subgroup === 0;
  if (!divides || (a.lines * a.quads) % lanes || (b.lines * b.quads) % lanes) return 0;
  return 2 * 8 * (a.size + b.size) + 16 * subgroups * scratch;
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
 * on the way from memory in registers. Finished fragments go through shared memory too, since WGSL does not open them. With
 * `split` > 1 that many workgroups share k, and leave partial sums to `matmulJoin`.
 */
export function matrixMatmul(shape: MatmulShape, tuning: MatmulTuning): string {
  const { tileRows, tileColumns, lanes, step, unit, split: shares } = tuning;
  const { subgroup, subgroups, fragment, split, a, b, scratch } = plan(shape, tuning);
  if (!split)
    throw new RangeError(`matmul: ${subgroups} subgroups do not divide a tile of ${tileRows} × ${tileColumns}`);
  const down = range(split.rows / fragment.m);
  const across = range(split.columns / fragment.n);
  const sums = down.flatMap((i) => across.map((j) => `sum${i}_${j}`));
  const firstRow = `subgroup / ${split.across}u * ${split.rows}u`;
  const firstColumn = `subgroup % ${split.across}u * ${split.columns}u`;
  const multiply = (kk: number) => `
        ${down.map((i) => `let a${i}_${kk} = ${fragmentOf("Left", "sliceA", a, `half * ${a.size}u`, "beginA", i * fragment.m, kk)};`).join("\n        ")}
        ${across
          .map(
            (
              j,
            ) => `let b${j}_${kk} = ${fragmentOf("Right", "sliceB", b, `half * ${b.size}u`, "beginB", j * fragment.n, kk)};
        ${down.map((i) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}_${kk}, b${j}_${kk}, sum${i}_${j});`).join(" ")}`,
          )
          .join("\n        ")}`;
  return `
    ${fragmentTypes(unitOf(unit))}
    ${strips(shape, "f16")}
    ${shares > 1 ? storePart(shape) : store(shape)}
    var<workgroup> sliceA: array<vec4<f16>, ${2 * a.size}>;
    var<workgroup> sliceB: array<vec4<f16>, ${2 * b.size}>;
    var<workgroup> scratch: array<vec4f, ${subgroups * scratch}>;

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let matrix = group.z / ${shares}u;
      let part = group.z % ${shares}u;
      ${bounds(shape, "matrix")}
      let share = ${shares > 1 ? `(k + ${shares * step - 1}u) / ${shares * step}u * ${step}u` : "k"};
      let origin = part * share;
      let end = min(k, origin + share);
      let tileRow = group.y * ${tileRows}u;
      let tileColumn = group.x * ${tileColumns}u;
      let subgroup = lane / ${subgroup}u % ${subgroups}u;
      let beginA = ${a.alongK ? `(${firstRow}) * ${a.stride}u` : `(${firstRow}) / 4u`};
      let beginB = ${b.alongK ? `(${firstColumn}) * ${b.stride}u` : `(${firstColumn}) / 4u`};
      ${sums.map((sum) => `var ${sum} = Sum();`).join(" ")}
      ${places("A", a, lanes, "tileRow", "m")}
      ${places("B", b, lanes, "tileColumn", "n")}
      {
        let next = origin;
        ${fetch("A", a, lanes, "m")}
        ${fetch("B", b, lanes, "n")}
        ${keep("A", a, lanes, "0u")}
        ${keep("B", b, lanes, "0u")}
      }
      workgroupBarrier();
      for (var at = origin; at < end; at += ${step}u) {
        let half = (at - origin) / ${step}u % 2u;
        let next = at + ${step}u;
        ${fetch("A", a, lanes, "m")}
        ${fetch("B", b, lanes, "n")}
        ${range(step / fragment.k)
          .map((kk) => multiply(kk * fragment.k))
          .join("")}
        ${keep("A", a, lanes, `(1u - half) * ${a.size}u`)}
        ${keep("B", b, lanes, `(1u - half) * ${b.size}u`)}
        workgroupBarrier();
      }
      let row = tileRow + ${firstRow};
      let column = tileColumn + ${firstColumn};
      let begin = subgroup * ${scratch}u;
      ${down
        .flatMap((i) =>
          across.map(
            (j) => `subgroupMatrixStore<row_major>(&scratch, begin, sum${i}_${j}, ${fragment.n / 4}u);
      workgroupBarrier();
      for (var v = lane % ${subgroup}u; v < ${scratch}u; v += ${subgroup}u) {
        store(row + ${i * fragment.m}u + v / ${fragment.n / 4}u, column + ${j * fragment.n}u + v % ${fragment.n / 4}u * 4u, ${shares > 1 ? "part * u.batch + matrix" : "matrix"}, m, n, scratch[begin + v]);
      }
      workgroupBarrier();`,
          ),
        )
        .join("\n      ")}
    }`;
}

interface Slice {
  /** Whether a line runs along k; otherwise along the rows or columns of C. */
  alongK: boolean;
  lines: number;
  /** Vectors of a line, without and with the pad behind it. */
  quads: number;
  stride: number;
  size: number;
}

/** The fragment of the lines `line`… and the steps `kk`… of a slice that starts at vector `half`. */
function fragmentOf(
  type: "Left" | "Right",
  name: string,
  slice: Slice,
  half: string,
  begin: string,
  line: number,
  kk: number,
) {
  const { alongK, stride } = slice;
  const at = alongK ? line * stride + kk / 4 : kk * stride + line / 4;
  const major = alongK === (type === "Left") ? "row_major" : "col_major";
  return `subgroupMatrixLoad<${type}, ${major}>(&${name}, ${half} + ${begin} + ${at}u, ${stride}u)`;
}

const perLane = ({ lines, quads }: Pick<Slice, "lines" | "quads">, lanes: number) => range((lines * quads) / lanes);

/** Where each of the lane's vectors comes from and goes to, which no step of the loop changes. */
function places(
  name: "A" | "B",
  { alongK, quads, stride, lines }: Slice,
  lanes: number,
  tile: string,
  size: string,
): string {
  return perLane({ lines, quads }, lanes)
    .map((i) => {
      const at = `(lane + ${i * lanes}u)`;
      const line = `${at} / ${quads}u`;
      const source = alongK
        ? `let from${name}${i} = start${name} + min(${tile} + ${line}, ${size} - 1u) * k;`
        : `let from${name}${i} = ${tile} + ${at} % ${quads}u * 4u;`;
      return `${source} let to${name}${i} = ${line} * ${stride}u + ${at} % ${quads}u;`;
    })
    .join("\n      ");
}

/** Loads the lane's vectors of the slice at step `next` into registers; zeros behind the workgroup's share of k. */
function fetch(name: "A" | "B", { alongK, quads, lines }: Slice, lanes: number, size: string): string {
  return perLane({ lines, quads }, lanes)
    .map((i) => {
      const at = `(lane + ${i * lanes}u)`;
      const step = alongK ? `next + ${at} % ${quads}u * 4u` : `next + ${at} / ${quads}u`;
      const value = alongK
        ? `strip${name}(from${name}${i}, step${name}${i}, k)`
        : `strip${name}(start${name} + step${name}${i} * ${size}, from${name}${i}, ${size})`;
      return `let step${name}${i} = ${step}; let next${name}${i} = select(vec4<f16>(), ${value}, step${name}${i} < end);`;
    })
    .join("\n        ");
}

/** Puts them into shared memory. */
const keep = (name: "A" | "B", slice: Slice, lanes: number, half: string): string =>
  perLane(slice, lanes)
    .map((i) => `slice${name}[${half} + to${name}${i}] = next${name}${i};`)
    .join(" ");
