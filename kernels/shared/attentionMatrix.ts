import { type AttentionShape, type AttentionTuning, addressing, range } from "./attention.ts";
import { type Block, blockOf, type Uses } from "./attentionBlock.ts";
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
    ${arrays(uses.slices, "vec4u", Math.max(block, rows) * sliceLine)}
    ${arrays(uses.weights, "vec4u", rows * weightLine)}
    ${arrays(uses.scratches, "vec4f", rows * scratchLine)}
    fn ownStart(r: u32) -> u32 { return (${ownStart("r")}) / 2u; }
    fn passStart(r: u32) -> u32 { return (${passStart("r")}) / 2u; }
    fn halves(a: vec4f, b: vec4f) -> vec4u { return vec4u(bitcast<vec2u>(vec4<f16>(a)), bitcast<vec2u>(vec4<f16>(b))); }`;
}

/** The entry point's head. A lane has row `r` of its subgroup's, which is row `row` of all, and of it the eights `part`, `part` + parts, … */
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

/** How a lane moves its vector `i` of so many `rows`, from `binding` into `slice`: `start` says where a row of it begins, `line` is the first. */
function move({ lanes, eights, wide, sliceLine }: Block, rows: number, start: string, line: string, i: string) {
  const even = lanes % wide === 0; // then a lane's place in a line stays the same
  const at = `(lane + ${i} * ${lanes}u)`;
  const row = even ? `(lane / ${wide}u + ${i} * ${lanes / wide}u)` : `${at} / ${wide}u`;
  const place = even ? `lane % ${wide}u` : `${at} % ${wide}u`;
  const load = (binding: string) =>
    `${binding}[${start}(${line} + ${row}) + ${wide > eights ? `min(${place}, ${eights - 1}u)` : place}]`;
  const store = (slice: string, value: string) => {
    const padded = wide > eights ? `select(vec4u(), ${value}, ${place} < ${eights}u)` : value;
    const put = `${slice}[${row} * ${sliceLine}u + ${place}] = ${padded};`;
    return (rows * wide) % lanes ? `if (${at} < ${rows * wide}u) { ${put} }` : put;
  };
  return { load, store };
}

/** Vectors of `rows` lines that a lane moves. */
const moves = ({ lanes, wide }: Block, rows: number): number => Math.ceil((rows * wide) / lanes);

/** Fills `rows` lines of `slice` from `binding`. */
function fill(tile: Block, slice: string, binding: string, rows: number, start: string, line: string): string {
  const { load, store } = move(tile, rows, start, line, "i");
  return `for (var i = 0u; i < ${moves(tile, rows)}u; i++) { ${store(slice, load(binding))} }`;
}

/** Rows of `binding` from `line` on, as they pass by. */
export const pass = (tile: Block, slice: string, binding: string, line: string): string =>
  fill(tile, slice, binding, tile.block, "passStart", line);

/** The same in two: `load` puts a block's rows on their way into variables, which `declare` makes, and `store` those into `slice`. */
export function inTwo(tile: Block, slice: string, binding: string) {
  const each = (statement: (of: ReturnType<typeof move>, variable: string) => string, line = "") =>
    range(moves(tile, tile.block))
      .map((i) => statement(move(tile, tile.block, "passStart", line, `${i}u`), `${binding}${i}`))
      .join(" ");
  return {
    declare: (line: string) => each(({ load }, variable) => `var ${variable} = ${load(binding)};`, line),
    load: (line: string) => each(({ load }, variable) => `${variable} = ${load(binding)};`, line),
    store: each(({ store }, variable) => store(slice, variable)),
  };
}

/**
 * Blocks of two bindings into slices, from `first` on, `at` being where the loop is. Heads of up to 64 leave registers to have the next
 * block on its way while one is multiplied: `begin` stands before the loop, `ahead` where the loads are sent off.
 */
export function passBoth(tile: Block, slices: Record<string, string>, at: string, first: string) {
  const all = (part: (slice: string, binding: string) => string) =>
    Object.entries(slices)
      .map(([slice, binding]) => part(slice, binding))
      .join("\n        ");
  if (tile.wide > 8) return { begin: "", fill: all((slice, binding) => pass(tile, slice, binding, at)), ahead: "" };
  return {
    begin: all((slice, binding) => inTwo(tile, slice, binding).declare(first)),
    fill: all((slice, binding) => inTwo(tile, slice, binding).store),
    ahead: all((slice, binding) => inTwo(tile, slice, binding).load(`${at} + ${tile.block}u`)),
  };
}

/** `name`0, `name`1, …: the subgroup's own rows of `binding` as fragments, which pass through `slice` once. */
export function keep(tile: Block, name: string, binding: string, slice: string): string {
  const { wide, k, sliceLine, rows } = tile;
  return `
      workgroupBarrier();
      ${fill(tile, slice, binding, rows, "ownStart", "first")}
      workgroupBarrier();
      ${range((wide * 8) / k)
        .map(
          (d) =>
            `let ${name}${d} = subgroupMatrixLoad<Left, row_major>(&${slice}, beginSlice + ${(d * k) / 8}u, ${sliceLine}u);`,
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
          ${range((wide * 8) / k)
            .map(
              (d) =>
                `sum = subgroupMatrixMultiplyAccumulate(${own}${d}, subgroupMatrixLoad<Right, col_major>(&${slice}, ${j * n * sliceLine + (d * k) / 8}u, ${sliceLine}u), sum);`,
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
        `let ${name}${i} = subgroupMatrixLoad<Left, row_major>(&${weights}, begin * ${weightLine}u + ${(i * k) / 8}u, ${weightLine}u);`,
    )
    .join("\n        ");

/** `sum` += weights times the passing rows' columns of fragment `c`. */
export const accumulate = ({ block, n, k, sliceLine }: Block, sum: string, weights: string, slice: string, c: number) =>
  range(block / k)
    .map(
      (i) =>
        `${sum} = subgroupMatrixMultiplyAccumulate(${weights}${i}, subgroupMatrixLoad<Right, row_major>(&${slice}, ${i * k * sliceLine + (c * n) / 8}u, ${sliceLine}u), ${sum});`,
    )
    .join("\n        ");

/** Fragments of columns, and the panels of them that scratch holds at a time: the lane's eights of each, which begin at eight `from`. */
export const columnsOf = ({ wide, n }: Block): number[] => range((wide * 8) / n);
export const panelsOf = (tile: Block): { columns: number[]; eights: number[]; from: number }[] => {
  const { wide, block, n, parts } = tile;
  const width = Math.min(wide, block / 8);
  return range(Math.ceil(wide / width)).map((p) => {
    const columns = columnsOf(tile).filter((c) => Math.floor((c * n) / 8 / width) === p);
    return { columns, eights: range(Math.ceil((columns.length * n) / 8 / parts)), from: p * width };
  });
};

/** Puts a fragment where column fragment `i` of a panel stands in `scratch`. */
export const show = ({ n, scratchLine }: Block, scratch: string, sum: string, i: number): string =>
  `subgroupMatrixStore<row_major>(&${scratch}, begin * ${scratchLine}u + ${(i * n) / 4}u, ${sum}, ${scratchLine}u);`;

/** Fours from the lane's first on to its i: two neighbours make an eight. */
const quadsBefore = ({ parts }: Block, i: number): number => (i >> 1) * 2 * parts + (i % 2);

/** WGSL of the lane's four i in its row, and of that in a scratch array. */
export const quadOf = (tile: Block, i: number): string => `(${quadsBefore(tile, i)}u + part * 2u)`;
export const ofScratch = (tile: Block, scratch: string, i: number): string =>
  `${scratch}[r * ${tile.scratchLine}u + ${quadOf(tile, i)}]`;

/** The lane's fours of a row of scores. */
export const shares = ({ block, parts }: Block): number[] => range(block / 4 / parts);

/** WGSL that puts the lane's fours `value`0, `value`1, … into its row of weights. */
export const weigh = (tile: Block, weights: string, value: string): string =>
  range(tile.block / 8 / tile.parts)
    .map(
      (i) =>
        `${weights}[r * ${tile.weightLine}u + ${i * tile.parts}u + part] = halves(${value}${2 * i}, ${value}${2 * i + 1});`,
    )
    .join(" ");

/** `seen`: how many keys from the lane's first on its row of queries sees; those that pass by begin at `s`. */
export const seen = "let seen = limit - i32(s + part * 8u);";

/** Which of the four passing keys in the lane's four i its row of queries sees. */
export const visible = (tile: Block, segments: boolean, i: number): string => {
  const first = 4 * quadsBefore(tile, i);
  const below = `vec4i(${range(4).map((j) => first + j)}) < vec4i(seen)`;
  return segments ? `(${below}) & (docs[${quadOf(tile, i)}] == vec4u(doc))` : below;
};

/** WGSL that stores the lane's eight from `at` on, `a` and `b`, to its row of `target`; `start` is where its first stands. */
export const put = ({ eights, parts }: Block, target: string, at: number, a: string, b: string): string => {
  const store = `${target}[start + ${at}u] = halves(${a}, ${b});`;
  return at + parts > eights ? `if (${at}u + part < ${eights}u) { ${store} }` : store;
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
  const pair = (i: number) =>
    [2 * i, 2 * i + 1].map((j) => `${ofScratch(tile, scratch, j)} * ${by}`) as [string, string];
  return panelsOf(tile)
    .map(
      ({ columns, eights, from }) => `
      workgroupBarrier();
      ${columns.map((c, i) => show(tile, scratch, `${sum}${c}`, i)).join("\n      ")}
      workgroupBarrier();
      if (row < ${count}) {
        let start = ownStart(row) + part;
        ${eights.map((i) => put(tile, target, from + i * tile.parts, ...pair(i))).join("\n        ")}
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
