import type { Target } from "../../framework/device/kernel.ts";
import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { bounds, range, store, strips } from "./matmulParts.ts";
import { storePart } from "./matmulTiles.ts";
import { fragmentTypes, splitTile, targetUnit, unitOf } from "./matrixUnits.ts";

const PAD = 2; // vectors behind a line of a slice, so that the lines that a fragment reads lie in different banks

/** How a tile is cut up, all of it known when the kernel is compiled. */
function plan(shape: MatmulShape, { tileRows, tileColumns, lanes, step, unit }: MatmulTuning) {
  const { layout, wideA, wideB, eightA, eightB } = shape;
  const { lanes: subgroup, ...fragment } = unitOf(unit);
  const subgroups = lanes / subgroup;
  const slice = (name: "A" | "B", count: number, alongK: boolean, wide: boolean, eight: boolean): Slice => {
    const [lines, quads] = alongK ? [count, step / 4] : [step, count / 4];
    const pairs = eight && quads % 2 === 0 && (lines * quads) % (2 * lanes) === 0;
    return { name, alongK, wide, lines, quads, load: pairs ? 8 : 4, stride: quads + PAD, size: lines * (quads + PAD) };
  };
  return {
    subgroup,
    subgroups,
    fragment,
    split: splitTile(tileRows, tileColumns, subgroups, { lanes: subgroup, ...fragment }),
    a: slice("A", tileRows, layout !== "TN", wideA, eightA),
    b: slice("B", tileColumns, layout === "NT", wideB, eightB),
    scratch: (fragment.m * fragment.n) / 4, // vectors of a subgroup
  };
}

/** Whether the lanes load eight elements of A, and of B, at once. */
export function loadsEight(shape: MatmulShape, tuning: MatmulTuning): { a: boolean; b: boolean } {
  const { a, b } = plan(shape, tuning);
  return { a: a.load === 8, b: b.load === 8 };
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
        ${down.map((i) => `let a${i}_${kk} = ${fragmentOf("Left", a, "beginA", i * fragment.m, kk)};`).join("\n        ")}
        ${across
          .map(
            (j) => `let b${j}_${kk} = ${fragmentOf("Right", b, "beginB", j * fragment.n, kk)};
        ${down.map((i) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}_${kk}, b${j}_${kk}, sum${i}_${j});`).join(" ")}`,
          )
          .join("\n        ")}`;
  return `
    ${fragmentTypes(unitOf(unit))}
    ${a.wide && b.wide ? "" : strips(shape, "f16")}
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
      ${places(a, lanes, "tileRow", "m")}
      ${places(b, lanes, "tileColumn", "n")}
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
        ${range(step / fragment.k)
          .map((kk) => multiply(kk * fragment.k))
          .join("")}
        ${keep(a, lanes, `(1u - half) * ${a.size}u`)}
        ${keep(b, lanes, `(1u - half) * ${b.size}u`)}
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
  name: "A" | "B";
  /** Whether a line runs along k; otherwise along the rows or columns of C. */
  alongK: boolean;
  /** Whether it is bound as vectors; otherwise its elements are loaded one by one. */
  wide: boolean;
  lines: number;
  /** Vectors of four of a line, without and with the pad behind it. */
  quads: number;
  stride: number;
  size: number;
  /** Elements that a lane moves at once. */
  load: 4 | 8;
}

/** The fragment of the lines `line`… and the steps `kk`… of the half of a slice that is being multiplied. */
function fragmentOf(type: "Left" | "Right", slice: Slice, begin: string, line: number, kk: number) {
  const { name, alongK, stride, size } = slice;
  const at = alongK ? line * stride + kk / 4 : kk * stride + line / 4;
  const major = alongK === (type === "Left") ? "row_major" : "col_major";
  return `subgroupMatrixLoad<${type}, ${major}>(&slice${name}, half * ${size}u + ${begin} + ${at}u, ${stride}u)`;
}

const perLane = ({ lines, quads, load }: Slice, lanes: number) => range((4 * lines * quads) / load / lanes);

/** Where each of the lane's loads comes from and goes to, which no step of the loop changes: `step` is its place along k within a slice. */
function places(slice: Slice, lanes: number, tile: string, size: string): string {
  const { name, alongK, wide, quads, stride, load } = slice;
  const perLine = (4 * quads) / load;
  return perLane(slice, lanes)
    .map((i) => {
      const at = `(lane + ${i * lanes}u)`;
      const [line, along] = [`${at} / ${perLine}u`, `${at} % ${perLine}u * ${load}u`];
      const step = alongK ? along : line;
      const start = alongK ? `start${name} + min(${tile} + ${line}, ${size} - 1u) * k` : `${tile} + ${along}`;
      const begin = alongK ? `${start} + ${along}` : `start${name} + ${line} * ${size} + ${start}`;
      const source = wide ? `(${begin}) / ${load}u` : start;
      return `let step${name}${i} = ${step}; let from${name}${i} = ${source}; let to${name}${i} = ${line} * ${stride}u + ${at} % ${perLine}u * ${load / 4}u;`;
    })
    .join("\n      ");
}

/** Loads the lane's part of the slice at step `next` into registers; zeros behind the workgroup's share of k. */
function fetch(slice: Slice, lanes: number, size: string): string {
  const { name, alongK, wide, load } = slice;
  const binding = name.toLowerCase();
  const zero = load === 8 ? "vec4u()" : "vec4<f16>()";
  const ahead = wide ? `let ahead${name} = next${alongK ? "" : ` * ${size}`} / ${load}u;` : "";
  const loads = perLane(slice, lanes).map((i) => {
    const step = `next + step${name}${i}`;
    const single = alongK
      ? `strip${name}(from${name}${i}, ${step}, k)`
      : `strip${name}(start${name} + (${step}) * ${size}, from${name}${i}, ${size})`;
    const value = wide ? `${binding}[from${name}${i} + ahead${name}]` : single;
    return `let next${name}${i} = select(${zero}, ${value}, ${step} < end);`;
  });
  return [ahead, ...loads].join("\n        ");
}

/** Puts them into shared memory. */
const keep = (slice: Slice, lanes: number, half: string): string =>
  perLane(slice, lanes)
    .map((i) => {
      const [value, to] = [`next${slice.name}${i}`, `${half} + to${slice.name}${i}`];
      const place = (offset: string, vector: string) => `slice${slice.name}[${to}${offset}] = ${vector};`;
      const half8 = (words: string) => `bitcast<vec4<f16>>(${value}.${words})`;
      return slice.load === 8 ? `${place("", half8("xy"))} ${place(" + 1u", half8("zw"))}` : place("", value);
    })
    .join(" ");
