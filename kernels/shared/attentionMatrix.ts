import { type AttentionShape, type AttentionTuning, addressing, range } from "./attention.ts";
import { type Block, blockOf, panelOf, type Uses } from "./attentionBlock.ts";
import { fragmentTypes, unitOf } from "./matrixUnits.ts";

/** WGSL declarations: fragments, the arrays in shared memory, where the tile's own rows and those that pass by begin. */
export function begin(
  shape: AttentionShape,
  tuning: AttentionTuning,
  own: "queries" | "keys",
  uses: Record<keyof Uses, string[]>,
): string {
  const { rows, block, sliceLine, weightLine, scratchLine } = blockOf(shape, tuning);
  const query = (r: string) => `rowOf(min(${r}, u.queries * ${shape.group}u - 1u), place)`;
  const key = (r: string) => `place.z * u.kvBatch + place.y * u.kvHead + min(${r}, u.keys - 1u) * u.kvToken`;
  const [ownStart, passStart] = own === "queries" ? [query, key] : [key, query];
  const arrays = (names: string[], type: string, length: number) =>
    names.map((name) => `var<workgroup> ${name}: array<${type}, ${length}>;`).join("\n    ");
  return `
    ${fragmentTypes(unitOf(tuning.unit))}
    ${addressing(shape, rows)}
    var<private> place: vec3u;
    ${arrays(uses.slices, "vec4<f16>", Math.max(block, rows) * sliceLine)}
    ${arrays(uses.weights, "vec4<f16>", rows * weightLine)}
    ${arrays(uses.scratches, "vec4f", rows * scratchLine)}
    fn ownStart(r: u32) -> u32 { return ${ownStart("r")}; }
    fn passStart(r: u32) -> u32 { return ${passStart("r")}; }`;
}

/** The entry point's head. A lane has row `r` of its subgroup's, which is row `row` of all, and vectors `part`, `part` + parts, … of it. */
export const main = ({ group }: AttentionShape, { lanes, rows, subgroup, subgroups, m, sliceLine }: Block): string => `
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      place = group;
      let first = group.x * ${rows}u;
      let begin = lane / ${subgroup}u % ${subgroups}u * ${m}u;
      let r = begin + lane % ${m}u;
      let part = lane % ${subgroup}u / ${m}u;
      let row = first + r;
      let count = u.queries * ${group}u;
      let scale = u.scale * 1.44269504;
      let beginSlice = begin * ${sliceLine}u;`;

/** Fills `rows` lines of `slice` from `binding`; `start` says where a row of it begins. */
function fill(
  { lanes, quads, wide, sliceLine }: Block,
  slice: string,
  binding: string,
  rows: number,
  start: string,
): string {
  const total = rows * wide;
  const value =
    wide > quads
      ? `select(vec4<f16>(), ${binding}[${start}(line + at / ${wide}u) + min(at % ${wide}u, ${quads - 1}u)], at % ${wide}u < ${quads}u)`
      : `${binding}[${start}(line + at / ${wide}u) + at % ${wide}u]`;
  const move = `${slice}[at / ${wide}u * ${sliceLine}u + at % ${wide}u] = ${value};`;
  return `for (var i = 0u; i < ${Math.ceil(total / lanes)}u; i++) {
          let at = lane + i * ${lanes}u;
          ${total % lanes ? `if (at < ${total}u) { ${move} }` : move}
        }`;
}

/** Rows of `binding` from `line` on, as they pass by. */
export const pass = (tile: Block, slice: string, binding: string, line: string): string =>
  `{ let line = ${line}; ${fill(tile, slice, binding, tile.block, "passStart")} }`;

/** `name`0, `name`1, …: the subgroup's own rows of `binding` as fragments, which pass through `slice` once. */
export function keep(tile: Block, name: string, binding: string, slice: string): string {
  const { wide, k, sliceLine, rows } = tile;
  return `
      workgroupBarrier();
      { let line = first; ${fill(tile, slice, binding, rows, "ownStart")} }
      workgroupBarrier();
      ${range((wide * 4) / k)
        .map(
          (d) =>
            `let ${name}${d} = subgroupMatrixLoad<Left, row_major>(&${slice}, beginSlice + ${(d * k) / 4}u, ${sliceLine}u);`,
        )
        .join("\n      ")}`;
}

/** Own rows times the passing rows of `slice`, into `scratch`. */
export function scores(tile: Block, scratch: string, own: string, slice: string): string {
  const { wide, block, n, k, sliceLine } = tile;
  return range(block / n)
    .map(
      (j) => `{
          var sum = Sum();
          ${range((wide * 4) / k)
            .map(
              (d) =>
                `sum = subgroupMatrixMultiplyAccumulate(${own}${d}, subgroupMatrixLoad<Right, col_major>(&${slice}, ${j * n * sliceLine + (d * k) / 4}u, ${sliceLine}u), sum);`,
            )
            .join("\n          ")}
          ${show(tile, scratch, "sum", j)}
        }`,
    )
    .join("\n        ");
}

/** `name`0, `name`1, …: the subgroup's own rows of weights as fragments. */
export const weightsOf = ({ block, k, weightLine }: Block, name: string, weights: string): string =>
  range(block / k)
    .map(
      (i) =>
        `let ${name}${i} = subgroupMatrixLoad<Left, row_major>(&${weights}, begin * ${weightLine}u + ${(i * k) / 4}u, ${weightLine}u);`,
    )
    .join("\n        ");

/** `sum` += weights times the passing rows' columns of fragment `c`. */
export const accumulate = ({ block, n, k, sliceLine }: Block, sum: string, weights: string, slice: string, c: number) =>
  range(block / k)
    .map(
      (i) =>
        `${sum} = subgroupMatrixMultiplyAccumulate(${weights}${i}, subgroupMatrixLoad<Right, row_major>(&${slice}, ${i * k * sliceLine + (c * n) / 4}u, ${sliceLine}u), ${sum});`,
    )
    .join("\n        ");

/** Fragments of columns, and the panels of them that scratch holds at a time. */
export const columnsOf = ({ wide, n }: Block): number[] => range((wide * 4) / n);
export const panelsOf = (tile: Block): { columns: number[]; quads: number[]; from: number }[] => {
  const { wide, n, parts } = tile;
  const width = panelOf(tile);
  return range(Math.ceil(wide / width)).map((p) => {
    const columns = columnsOf(tile).filter((c) => Math.floor((c * n) / 4 / width) === p);
    return { columns, quads: range((columns.length * n) / 4 / parts), from: p * width };
  });
};

/** Puts a fragment where column fragment `i` of a panel stands in `scratch`. */
export const show = ({ n, scratchLine }: Block, scratch: string, sum: string, i: number): string =>
  `subgroupMatrixStore<row_major>(&${scratch}, begin * ${scratchLine}u + ${(i * n) / 4}u, ${sum}, ${scratchLine}u);`;

/** WGSL of the lane's vector i in its row of a scratch array, or of weights. */
export const ofScratch = ({ scratchLine, parts }: Block, scratch: string, i: number): string =>
  `${scratch}[r * ${scratchLine}u + ${i * parts}u + part]`;
export const ofWeights = ({ weightLine, parts }: Block, weights: string, i: number): string =>
  `${weights}[r * ${weightLine}u + ${i * parts}u + part]`;

/** The lane's vectors of a row of scores. */
export const shares = ({ block, parts }: Block): number[] => range(block / 4 / parts);

/** Which of the four passing keys in the lane's vector i its row of queries sees; the keys begin at `s`. */
export const visible = ({ parts }: Block, segments: boolean, i: number): string => {
  const quad = `(${i * parts}u + part)`;
  const below = `vec4i(i32(s + ${quad} * 4u)) + vec4i(0, 1, 2, 3) < vec4i(limit)`;
  return segments ? `(${below}) & (docs[${quad}] == vec4u(doc))` : below;
};

/** Writes finished fragments to rows of `target`, panel by panel, scaled by `by`. */
export function writeRows(
  tile: Block,
  target: string,
  sum: string,
  scratch: string,
  count: string,
  by: string,
): string {
  return panelsOf(tile)
    .map(
      ({ columns, quads, from }) => `
      workgroupBarrier();
      ${columns.map((c, i) => show(tile, scratch, `${sum}${c}`, i)).join("\n      ")}
      workgroupBarrier();
      if (row < ${count}) {
        let start = ownStart(row) + ${from}u + part;
        ${quads.map((i) => `if (${from + i * tile.parts}u + part < ${tile.quads}u) { ${target}[start + ${i * tile.parts}u] = vec4<f16>(${ofScratch(tile, scratch, i)} * ${by}); }`).join("\n        ")}
      }`,
    )
    .join("");
}

/** A number for each passing row, in an array of vectors in shared memory: a lane writes four at once, for rows i, i + 1, … */
export const passing = ({ block }: Block, array: string, type: string, number: (i: string) => string): string =>
  `if (lane < ${block / 4}u) { let i = lane * 4u; ${array}[lane] = ${type}(${range(4)
    .map((j) => number(`(i + ${j}u)`))
    .join(", ")}); }`;

/** Where the documents of the passing keys begin. */
export const passingDocs = (tile: Block): string =>
  passing(tile, "docs", "vec4u", (i) => `spans[group.z * u.queries + min(s + ${i}, u.keys - 1u)].x`);

/** `spanStart`, `spanEnd`: the tokens of all documents that the tile's rows belong to; `doc`: the lane's own. `token` gives a row's. */
export const ownSpans = (rows: number, token: (row: string) => string): string => `
      var spanStart = 0xffffffffu;
      var spanEnd = 0u;
      for (var i = 0u; i < ${rows}u; i++) {
        let span = spans[group.z * u.queries + ${token("(first + i)")}];
        spanStart = min(spanStart, span.x);
        spanEnd = max(spanEnd, span.y);
      }
      let doc = spans[group.z * u.queries + ${token("row")}].x;`;
