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

/**
 * The entry point. Loops end where documents do, which the analysis can't know to be the same for all lanes. Their bounds have
 * `zero` added, which the compiler can't know to be 0: unrolled, they are slower and take seconds to compile.
 */
export const entry = `@diagnostic(off, subgroup_uniformity)
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
      let zero = u.batch >> 31u;`;

/** Vectors of a row that a lane has: those at lane, lane + lanes, … */
export const columnsOf = ({ quads, lanes }: Broadcast): number[] => range(Math.ceil(quads / lanes));

/** Statements for all rows, or for all rows and columns. */
export const eachRow = ({ rows }: Broadcast, statement: (r: number) => string): string =>
  range(rows).map(statement).join("\n        ");

/** `name`0, `name`1, …: what the lane loads or works out for the rows that it stands for; {@link ofRow} hands it round. */
export const own = ({ rows, lanes }: Broadcast, name: string, value: (row: string) => string): string =>
  range(Math.ceil(rows / lanes))
    .map((i) => `let ${name}${i} = ${value(`${i * lanes}u + lane % ${Math.min(rows, lanes)}u`)};`)
    .join(" ");

/**
 * `q`Kept: the rows that the lane stands for, from where `own`i says, in its private memory: reading there costs a third of a
 * load from a buffer, which Mesa's compiler bounds and masks lane by lane.
 */
export const keep = ({ rows, lanes, quads }: Broadcast, binding: string): string => {
  const parts = range(Math.ceil(rows / lanes));
  return `
      var ${binding}Kept: array<vec4f, ${parts.length * quads}>;
      for (var d = 0u; d < ${quads}u + zero; d++) {
        ${parts.map((i) => `${binding}Kept[d + ${i * quads}u] = vec4f(${binding}[own${i} + d]);`).join(" ")}
      }`;
};

/** What the lane that stands for row r has under `name`. */
export const ofRow = ({ lanes }: Broadcast, name: string, r: number): string =>
  `subgroupBroadcast(${name}${Math.floor(r / lanes)}, ${r % lanes}u)`;

/** `pass0` to `pass3`: where the lane's four rows of those that pass by begin. */
export const passingRows = ({ lanes }: Broadcast, start: (row: string) => string): string =>
  range(4)
    .map((j) => `let pass${j} = ${start(`${j * lanes}u + lane`)};`)
    .join(" ");

/**
 * `sum`r = row r of `own` times the lane's four rows of `passing`, for each of the products. A lane loads four elements of
 * four passing rows and has those of its own rows (see {@link keep}), which are handed round. A loop for each product: what one loop carries should be few.
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
            .map((i) => `let a${i} = ${own}Kept[d + ${i * quads}u];`)
            .join(" ")}
          ${eachRow(
            tile,
            (r) =>
              `{ let a = ${ofRow(tile, "a", r)}; ${range(4)
                .map((e) => `${sum}${r} = ${sum}${r} + a[${e}] * b${e};`)
                .join(" ")} }`,
          )}
        }`;
  };
  return `
      ${products.map(({ sum }) => eachRow(tile, (r) => `var ${sum}${r} = vec4f();`)).join("\n")}
      ${products.map((p) => `for (var d = 0u; d < ${quads}u + zero; d++) ${product(p)}`).join("\n      ")}`;
}

/**
 * `sum`r_c += the weights of row r times the passing rows, whose columns c this lane has. `start` as in {@link passingRows}.
 * A loop each for products and for columns: what one loop carries should be few.
 */
export function accumulate(
  tile: Broadcast,
  products: { sum: string; weight: string; passing: string }[],
  start: (row: string) => string,
): string {
  const { lanes } = tile;
  const product = ({ sum, weight, passing }: (typeof products)[number], c: number) => `{
          ${range(4)
            .map((j) => `let b${j} = vec4f(${passing}[${start(`${j * lanes}u + turn`)} + column${c}]);`)
            .join(" ")}
          ${eachRow(tile, (r) => {
            const terms = range(4).map((j) => `${sum}${r}_${c} = ${sum}${r}_${c} + w[${j}] * b${j};`);
            return `{ let w = subgroupShuffle(${weight}${r}, turn); ${terms.join(" ")} }`;
          })}
        }`;
  return products
    .flatMap((p) => columnsOf(tile).map((c) => `for (var turn = 0u; turn < ${lanes}u + zero; turn++) ${product(p, c)}`))
    .join("\n        ");
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

/** WGSL that makes `name` what row r has, where r is the value of `chosen`. */
export const choose = ({ rows }: Broadcast, name: string, chosen: string, value: (r: number) => string): string =>
  range(rows)
    .map((r) =>
      r === 0 ? `var ${name} = ${value(0)};` : `${name} = select(${name}, ${value(r)}, ${chosen} == ${r}u);`,
    )
    .join(" ");

/**
 * Writes the rows' sums to `target`, those of them that `count` has. A store is long in machine code (a branch for every
 * element), so rows go through one in a loop; a loop for each column, since what lives in a loop should be little.
 */
export function writeRows(
  tile: Broadcast,
  { target, dtype, sum, count, start }: Record<"target" | "dtype" | "sum" | "count" | "start", string>,
): string {
  const { rows, lanes, quads } = tile;
  const column = (c: number) => {
    const exists = (c + 1) * lanes <= quads ? "" : ` && lane + ${c * lanes}u < ${quads}u`;
    return `for (var r = 0u; r < ${rows}u + zero; r++) {
        ${choose(tile, "sum", "r", (r) => `${sum}${r}_${c}`)}
        if (row + r < ${count}${exists}) { ${target}[${start} + column${c}] = vec4<${dtype}>(sum); }
      }`;
  };
  return columnsOf(tile).map(column).join("\n      ");
}

/** `value` joined over all lanes. Shuffles are single instructions where reductions are loops over lanes. */
export function joined({ lanes }: Broadcast, value: string, join: (a: string, b: string) => string): string {
  const steps = range(Math.log2(lanes)).map((i) => 2 ** i);
  return steps.map((step) => `${value} = ${join(value, `subgroupShuffleXor(${value}, ${step}u)`)};`).join(" ");
}

/** The numbers of the lane's four passing rows, from that which passes first on. */
export const passingNumbers = ({ lanes }: Broadcast, first: string): string =>
  `vec4i(vec4u(${first} + lane) + vec4u(0u, ${lanes}u, ${2 * lanes}u, ${3 * lanes}u))`;

/** `doc`i: the documents of the rows that the lane stands for; `spanStart` and `spanEnd`: the tokens of all the tile's documents. */
export const ownSpans = (tile: Broadcast, token: (row: string) => string): string => {
  const all = range(Math.ceil(tile.rows / tile.lanes)).map((i) => `span${i}`);
  const end = (member: string, join: string) =>
    all.map((s) => `${s}.${member}`).reduce((a, b) => `${join}(${a}, ${b})`);
  return `
      ${own(tile, "span", (r) => `spans[group.z * u.queries + ${token(r)}]`)}
      ${all.map((s, i) => `let doc${i} = ${s}.x;`).join(" ")}
      var spanStart = ${end("x", "min")}; var spanEnd = ${end("y", "max")};
      ${joined(tile, "spanStart", (a, b) => `min(${a}, ${b})`)}
      ${joined(tile, "spanEnd", (a, b) => `max(${a}, ${b})`)}`;
};

/** `docs`: where the documents of the four passing rows begin. */
export const passingSpans = (tokens: string): string => `
        let token = ${tokens};
        let docs = vec4u(${range(4).map((j) => `spans[group.z * u.queries + token[${j}]].x`)});`;

/** Which of the four passing rows row r meets. */
export const visible = (tile: Broadcast, limits: string, segments: boolean, r: number): string =>
  segments ? `(${limits}) & (docs == vec4u(${ofRow(tile, "doc", r)}))` : limits;
