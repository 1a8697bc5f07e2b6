import { type AttentionShape, range } from "./attention.ts";

/** What the broadcast variants of all attention kernels need to know. */
export interface Broadcast {
  /** Rows that the subgroup keeps; the other side's rows pass by, 4 · lanes at a time. */
  rows: number;
  lanes: number;
  /** Vectors of a row. */
  quads: number;
}

export const broadcastOf = ({ headDim }: AttentionShape, rows: number, lanes: number): Broadcast => ({
  rows,
  lanes,
  quads: headDim / 4,
});

/** Vectors of a row that a lane has: those at lane, lane + lanes, … */
export const columnsOf = ({ quads, lanes }: Broadcast): number[] => range(Math.ceil(quads / lanes));

/** Statements for all rows, or for all rows and columns. */
export const eachRow = ({ rows }: Broadcast, statement: (r: number) => string): string =>
  range(rows).map(statement).join("\n        ");

/** `own0`, `own1`, …: where the rows that this lane loads for all begin. `start` maps a row's number in the tile. */
export const ownRows = ({ rows, lanes }: Broadcast, start: (row: string) => string): string =>
  range(Math.ceil(rows / lanes))
    .map((i) => `let own${i} = ${start(`${i * lanes}u + lane % ${Math.min(rows, lanes)}u`)};`)
    .join(" ");

/** `pass0` to `pass3`: where the lane's four rows of those that pass by begin. */
export const passingRows = ({ lanes }: Broadcast, start: (row: string) => string): string =>
  range(4)
    .map((j) => `let pass${j} = ${start(`${j * lanes}u + lane`)};`)
    .join(" ");

/**
 * `sum`r = row r of `own` times the lane's four rows of `passing`, for each of the products. A lane loads four elements of
 * its own rows and of four passing ones; own elements are handed round.
 */
export function dots(tile: Broadcast, products: { sum: string; own: string; passing: string }[]): string {
  const { rows, lanes, quads } = tile;
  const product = ({ sum, own, passing }: (typeof products)[number]) => {
    const turned = (e: number) => `vec4f(${range(4).map((j) => `t${j}[${e}]`)})`;
    return `{
          ${range(4)
            .map((j) => `let t${j} = vec4f(${passing}[pass${j} + d]);`)
            .join(" ")}
          ${range(4)
            .map((e) => `let b${e} = ${turned(e)};`)
            .join(" ")}
          ${range(Math.ceil(rows / lanes))
            .map((i) => `let a${i} = vec4f(${own}[own${i} + d]);`)
            .join(" ")}
          ${eachRow(
            tile,
            (r) =>
              `{ let a = subgroupBroadcast(a${Math.floor(r / lanes)}, ${r % lanes}u); ${range(4)
                .map((e) => `${sum}${r} = ${sum}${r} + a[${e}] * b${e};`)
                .join(" ")} }`,
          )}
        }`;
  };
  return `
      ${products.map(({ sum }) => eachRow(tile, (r) => `var ${sum}${r} = vec4f();`)).join("\n")}
      for (var d = 0u; d < ${quads}u; d++) {
        ${products.map(product).join("\n        ")}
      }`;
}

/** `sum`r_c += the weights of row r times the passing rows, whose columns c this lane has. `start` as in {@link passingRows}. */
export function accumulate(
  tile: Broadcast,
  products: { sum: string; weight: string; passing: string }[],
  start: (row: string) => string,
): string {
  const { lanes } = tile;
  const columns = columnsOf(tile);
  const product = ({ sum, weight, passing }: (typeof products)[number]) => `{
          ${range(4)
            .flatMap((j) => columns.map((c) => `let b${j}_${c} = vec4f(${passing}[row${j} + column${c}]);`))
            .join(" ")}
          ${eachRow(
            tile,
            (r) =>
              `{ let w = subgroupShuffle(${weight}${r}, turn); ${columns
                .flatMap((c) => range(4).map((j) => `${sum}${r}_${c} = ${sum}${r}_${c} + w[${j}] * b${j}_${c};`))
                .join(" ")} }`,
          )}
        }`;
  return `
      for (var turn = 0u; turn < ${lanes}u; turn++) {
        ${range(4)
          .map((j) => `let row${j} = ${start(`${j * lanes}u + turn`)};`)
          .join(" ")}
        ${products.map(product).join("\n        ")}
      }`;
}

/** `column0`, …: the vectors of a row that the lane has; a lane without one takes another's, and stores nothing. */
export const columnNames = (tile: Broadcast): string =>
  columnsOf(tile)
    .map((c) => `let column${c} = min(lane + ${c * tile.lanes}u, ${tile.quads - 1}u);`)
    .join(" ");

/** Sums at the start. */
export const zeros = (tile: Broadcast, sum: string): string =>
  eachRow(tile, (r) =>
    columnsOf(tile)
      .map((c) => `var ${sum}${r}_${c} = vec4f();`)
      .join(" "),
  );

/** Writes row r's columns to `target`, from where `start` says; only where `exists`. */
export function writeRow(tile: Broadcast, target: string, dtype: string, start: string, value: (c: number) => string) {
  return columnsOf(tile)
    .map((c) => {
      const write = `${target}[${start} + column${c}] = vec4<${dtype}>(${value(c)});`;
      return (c + 1) * tile.lanes <= tile.quads
        ? write
        : `if (lane + ${c * tile.lanes}u < ${tile.quads}u) { ${write} }`;
    })
    .join(" ");
}

/** The numbers of the lane's four passing rows, from that which passes first on. */
export const passingNumbers = ({ lanes }: Broadcast, first: string): string =>
  `vec4i(vec4u(${first} + lane) + vec4u(0u, ${lanes}u, ${2 * lanes}u, ${3 * lanes}u))`;

/** `doc`r: where row r's document begins; `spanStart` and `spanEnd`: what lies between the documents' ends, in tokens. */
export const ownSpans = (tile: Broadcast, token: (r: number) => string): string => `
      ${eachRow(tile, (r) => `let span${r} = spans[group.z * u.queries + ${token(r)}]; let doc${r} = span${r}.x;`)}
      var spanStart = span0.x; var spanEnd = span0.y;
      ${eachRow(tile, (r) => `spanStart = min(spanStart, span${r}.x); spanEnd = max(spanEnd, span${r}.y);`)}`;

/** `docs`: where the documents of the four passing rows begin. */
export const passingSpans = (tokens: string): string => `
        let token = ${tokens};
        let docs = vec4u(${range(4).map((j) => `spans[group.z * u.queries + token[${j}]].x`)});`;

/** Which of the four passing rows row r meets. */
export const visible = (limits: string, segments: boolean, r: number): string =>
  segments ? `(${limits}) & (docs == vec4u(doc${r}))` : limits;
