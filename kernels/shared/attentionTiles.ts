import { type AttentionShape, type AttentionTuning, addressing, range, TILE, tileStage } from "./attention.ts";

type Tile = Pick<AttentionTuning, "rows" | "lanes">;

const SLICE = 4; // vectors of all rows between barriers

/** Vectors of a row that a lane has in the second product: x, x + 8, … */
export const columnsOf = (quads: number): number[] => range(Math.ceil(quads / 8));

export const four = (statement: (j: number) => string): string => range(4).map(statement).join(" ");
export const fourth = (value: (i: number) => string, type = "f"): string =>
  `vec4${type}(${range(4).map(value).join(", ")})`;

/** Sums of the lane's four own rows and its columns. */
export const zeros = (quads: number, sum: string): string =>
  columnsOf(quads)
    .map((c) => four((i) => `var ${sum}${i}_${c} = vec4f();`))
    .join(" ");

/**
 * `sum`j[i] = own row i times passing row j of the lane's four by four. Slices of both sides go through shared memory.
 * `ownStart` and `passStart` say where a row begins, in vectors.
 */
export function dots(
  { rows, lanes }: Tile,
  quads: number,
  { sum, own, passing }: { sum: string; own: string; passing: string },
): string {
  const fill = (count: number, at: (place: string, row: string, d: string) => string) =>
    range((count * SLICE) / lanes).map(
      (i) => `{
          let at = lane + ${i * lanes}u;
          let d = slice + at / ${count}u;
          ${at("at", `at % ${count}u`, `min(d, ${quads - 1}u)`)}
        }`,
    );
  const fillOwn = fill(
    rows,
    (at, row, d) => `stage[${at}] = select(vec4f(), vec4f(${own}[ownStart(${row}) + ${d}]), d < ${quads}u);`,
  );
  const fillPassing = fill(
    TILE,
    (at, row, d) => `stage[${at} + ${rows * SLICE}u] = vec4f(${passing}[passStart(${row}) + ${d}]);`,
  );
  return `
      ${four((j) => `var ${sum}${j} = vec4f();`)}
      for (var slice = 0u; slice < ${quads}u; slice += ${SLICE}u) {
        workgroupBarrier();
        ${[...fillOwn, ...fillPassing].join(" ")}
        workgroupBarrier();
        for (var d = 0u; d < ${SLICE}u; d++) {
          ${four((i) => `let a${i} = stage[d * ${rows}u + y * 4u + ${i}u];`)}
          ${four((j) => `{ let b = stage[${rows * SLICE}u + d * ${TILE}u + x + ${8 * j}u]; ${sum}${j} += ${fourth((i) => `dot(a${i}, b)`)}; }`)}
        }
      }`;
}

/** `sum`i_c += weight `weight`j[i] times passing row j's column c, over all passing rows. */
export function accumulate(
  { rows, lanes }: Tile,
  quads: number,
  { sum, weight, passing }: { sum: string; weight: string; passing: string },
): string {
  const staged = Math.min(TILE, 2 ** Math.floor(Math.log2(tileStage(rows) / quads)));
  const columns = columnsOf(quads);
  return `
      ${four((j) => `weights[(x + ${8 * j}u) * ${rows / 4}u + y] = ${weight}${j};`)}
      for (var base = 0u; base < ${TILE}u; base += ${staged}u) {
        workgroupBarrier();
        for (var at = lane; at < ${staged * quads}u; at += ${lanes}u) {
          stage[at] = vec4f(${passing}[passStart(base + at / ${quads}u) + at % ${quads}u]);
        }
        workgroupBarrier();
        for (var r = 0u; r < ${staged}u; r++) {
          let w = weights[(base + r) * ${rows / 4}u + y];
          ${columns
            .map(
              (c) =>
                `{ let b = stage[r * ${quads}u + min(x + ${8 * c}u, ${quads - 1}u)]; ${four((i) => `${sum}${i}_${c} += w[${i}] * b;`)} }`,
            )
            .join(" ")}
        }
      }
      workgroupBarrier();`;
}

/** Writes own row i of the lane to `target`, scaled by `by`. */
export function writeRows(
  quads: number,
  target: string,
  dtype: string,
  sum: string,
  count: string,
  by: (i: number) => string,
) {
  const row = (i: number) => `if (row + y * 4u + ${i}u < ${count}) {
        let start = ownStart(y * 4u + ${i}u);
        ${columnsOf(quads)
          .map(
            (c) =>
              `if (x + ${8 * c}u < ${quads}u) { ${target}[start + x + ${8 * c}u] = vec4<${dtype}>(${sum}${i}_${c} * ${by(i)}); }`,
          )
          .join(" ")}
      }`;
  return range(4).map(row).join("\n      ");
}

/** What all kernels begin with. Where the tile lies is kept in private variables, so that functions can say where rows begin. */
export function begin(shape: AttentionShape, { rows }: Tile, own: "queries" | "keys"): string {
  const query = (r: string) => `rowOf(min(${r}, u.queries * ${shape.group}u - 1u), place)`;
  const key = (r: string) => `place.z * u.kvBatch + place.y * u.kvHead + min(${r}, u.keys - 1u) * u.kvToken`;
  const [ownStart, passStart] = own === "queries" ? [query, key] : [key, query];
  return `
    ${addressing(shape, rows)}
    var<private> place: vec3u;
    var<private> row: u32;
    var<private> passing: u32;
    var<workgroup> stage: array<vec4f, ${tileStage(rows)}>;
    var<workgroup> weights: array<vec4f, ${(TILE * rows) / 4}>; // [passing][own / 4]
    fn ownStart(r: u32) -> u32 { return ${ownStart("row + r")}; }
    fn passStart(r: u32) -> u32 { return ${passStart("passing + r")}; }`;
}

/** The entry point's head, where the lane finds its place. */
export const main = ({ group }: AttentionShape, { rows, lanes }: Tile): string => `
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      place = group;
      row = group.x * ${rows}u;
      let first = group.x * ${rows}u; // no copy of row, which is not uniform to the compiler
      let x = lane % 8u;
      let y = lane / 8u;
      let count = u.queries * ${group}u;
      let scale = u.scale * 1.44269504;`;

/** `docs`: the documents of the lane's own rows; `spanStart`, `spanEnd`: the tokens of all the tile's documents. */
export const ownSpans = ({ rows }: Tile, token: (r: string) => string): string => `
      var spanStart = 0xffffffffu;
      var spanEnd = 0u;
      for (var r = 0u; r < ${rows}u; r++) {
        let span = spans[group.z * u.queries + ${token("r")}];
        spanStart = min(spanStart, span.x);
        spanEnd = max(spanEnd, span.y);
      }
      let docs = ${fourth((i) => `spans[group.z * u.queries + ${token(`(y * 4u + ${i}u)`)}].x`, "u")};`;

/** Which of the lane's own rows passing row j meets. */
export const visible = (limits: string, segments: boolean, token: string): string =>
  segments ? `(${limits}) & (docs == vec4u(spans[group.z * u.queries + ${token}].x))` : limits;
