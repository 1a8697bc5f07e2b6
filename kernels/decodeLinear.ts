import { kernel, type Scalar, type Target } from "../framework/device/kernel.ts";
import { type LineStep, lineStep, loaded, loadQuads, perLoad, shuffledSum, stepOf } from "./shared/decodeProduct.ts";
import { range } from "./shared/matmulParts.ts";

export interface DecodeLinearShape {
  [name: string]: string | boolean | number;
  /** What becomes of A before the product. norm: its rows' RMS norm. */
  prologue: "none" | "norm";
  /** Whether B holds two matrices, and C is silu of the first product times the second. */
  gated: boolean;
  a: Scalar;
  /** f16 is read two to a word: k is a multiple of eight then. */
  b: Scalar;
  residual: boolean;
  /** 1, 2, 4 or 8 rows that hold those of A. */
  few: number;
}

export interface DecodeLinearTuning {
  [name: string]: number;
  lanes: number;
  /** Whether the workgroup is one subgroup, which joins its sums by shuffles. */
  shuffle: number;
  /** Of C, each lane's own. 0: lanes share out k. */
  columns: number;
}

const MAX_GROUPS = 32768; // along one dimension
const COLUMNS = 4; // of a workgroup whose lanes share out k

/**
 * C [m, n] = prologue(A) · Bᵀ (+ residual) for few rows, as decoding has them: what stands between two products costs a launch there
 * that takes longer than its work. A is [m, k]; B is [n, k], or [2n, k] if gated; k and n are multiples of four. B is read
 * once: by lanes that walk four columns of C along k together, in order; or by lanes that walk columns of their own, which on a CPU, where
 * every element loaded counts, leaves fewer loads of A. A norm's factor is known only at the end of the row, and is put in
 * there. C and the residual are of A's dtype.
 */
export const decodeLinear = kernel<DecodeLinearShape, DecodeLinearTuning>({
  name: "decodeLinear",
  bindings: ({ prologue, residual }) => ({
    a: "read",
    ...(prologue === "norm" ? { gain: "read" as const } : {}),
    b: "read",
    ...(residual ? { residual: "read" as const } : {}),
    c: "write",
  }),
  types: ({ a, b }) => ({ a: `vec4<${a}>`, b: loaded(b), c: a, residual: a, gain: "vec4f" }),
  uniforms: { m: "u32", n: "u32", k: "u32", eps: "f32" },
  sizes: ["n", "k"],
  manyRegisters: true,
  tuning: [
    { lanes: [64, 32, 128, 16, 8], shuffle: [0, 1], columns: [0] },
    { lanes: [4, 8, 16], shuffle: [1], columns: [4, 2, 1] },
  ],
  valid: (_, { shuffle, lanes }, { subgroups, subgroupSize }) => !shuffle || (subgroups && subgroupSize === lanes),
  pick: ({ gated }, { class: kind, subgroups, subgroupSize: lanes }: Target) => {
    if (kind !== "software" || !subgroups || ![4, 8, 16].includes(lanes)) return { lanes: 64, shuffle: 0, columns: 0 };
    return { lanes, shuffle: 1, columns: gated ? 2 : 4 };
  },
  workgroups: (_, { lanes, columns }, { m, n }) => {
    const groups = m === 0 ? 0 : Math.ceil(n / (columns ? lanes * columns : COLUMNS));
    return [Math.min(groups, MAX_GROUPS), Math.ceil(groups / MAX_GROUPS)];
  },
  cost: ({ a, b, gated }, { m, n, k }) => {
    const columns = gated ? 2 * n : n;
    return {
      flops: 2 * m * columns * k,
      bytes: columns * k * (b === "f16" ? 2 : 4) + m * (n + k) * (a === "f16" ? 2 : 4),
    };
  },
  wgsl: (shape, tuning) => {
    const { lanes, shuffle, columns } = tuning;
    return `
    ${shuffle ? "" : `var<workgroup> sums: array<vec4f, ${lanes}>; var<workgroup> squareSums: array<f32, ${lanes}>;`}

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(${shuffle ? "subgroup_invocation_id" : "local_invocation_index"}) lane: u32) {
      let own = group.x + group.y * groups.x;
      if (own * ${columns ? lanes * columns : COLUMNS}u >= u.n) { return; }
      let parts = u.k / 4u;
      let line = u.k / ${perLoad(shape.b)}u;
      ${columns ? apart(shape, tuning) : together(shape, tuning)}
    }`;
  },
});

const each = (count: number, wgsl: (i: number) => string, between = "\n      ") => range(count).map(wgsl).join(between);

/**
 * A lane has columns of its own. The next quads of A are loaded by all lanes, one each, and handed round; so are the norm's weights, of
 * which all rows need the same.
 */
function apart(shape: DecodeLinearShape, { lanes, columns }: DecodeLinearTuning): string {
  const { b, few, gated, prologue } = shape;
  const norm = (wgsl: string) => (prologue === "norm" ? wgsl : "");
  const lines = gated ? 2 * columns : columns; // of a lane: those of the first half of B's rows, then those of the second
  const step: LineStep = { b, lanes, few, lines };
  const { quads, inner } = stepOf(step);
  const rowGroups = Math.max(1, few / lanes); // a lane has a row of each
  const first = `at * ${perLoad(b) / 4}u`; // of the step's quads
  const line = (l: number) => `(${l < columns ? "" : "u.n + "}min(column + ${l % columns}u, u.n - 1u)) * line`;
  const quad = (j: number) => {
    const [row, at, counts] = [j % rowGroups, `min(place${j}, parts - 1u)`, `f32(place${j} < parts)`];
    const gain = `subgroupShuffle(gains, place${j} % ${lanes}u)`;
    return `let place${j} = ${first} + (lane + ${j * lanes}u) / ${few}u; ${loadA(shape, { row, name: `y${j}`, at, counts, gain })}`;
  };
  const results = (r: number) => {
    const squares = `subgroupBroadcast(squares${Math.floor(r / lanes)}, ${r % lanes}u)`;
    const result = (c: number) =>
      store(shape, r, { column: `column + ${c}u`, gate: `sum${r}_${c}`, up: `sum${r}_${lines - columns + c}` });
    return `{ ${factor(shape, squares)} ${each(columns, result)} }`;
  };
  return `
      let zero = u.m >> 31u; // which the compiler can't know: loops stay loops
      let column = (own * ${lanes}u + lane) * ${columns}u;
      ${each(rowGroups, (g) => `let lineA${g} = min((lane + ${g * lanes}u) % ${few}u, u.m - 1u) * parts; var squares${g} = 0.0;`)}
      ${each(lines, (l) => `let line${l} = ${line(l)}; ${each(few, (r) => `var sum${r}_${l} = 0.0;`, " ")}`)}
      ${norm("var gains: vec4f;")}
      for (var at = 0u; at < line; at += ${inner}u) {
        ${norm(`if (${first} % ${lanes}u == 0u) { gains = gain[min(${first} + lane, parts - 1u)]; }`)}
        ${each(quads, quad)}
        ${lineStep(step, (l, at) => `b[line${l} + min(${at}, line - 1u)]`)}
      }
      ${norm(each(rowGroups, (g) => shuffledSum(`squares${g}`, lanes, Math.min(few, lanes))))}
      ${each(few, results)}`;
}

/** Lanes share out k, four columns at a time, and join their sums. */
function together(shape: DecodeLinearShape, tuning: DecodeLinearTuning): string {
  const { few, gated, prologue } = shape;
  const product = walk(shape, tuning);
  const result = (r: number) => store(shape, r, { column: "column", gate: `gate${r}[lane]`, up: `sum${r}[lane]` });
  return `
      ${each(few, (r) => `let lineA${r} = min(${r}u, u.m - 1u) * parts; var sum${r} = vec4f(); var squares${r} = 0.0;`)}
      ${gated ? bothHalves(product, few) : product}
      ${prologue === "norm" ? each(few, (r) => joined(`squares${r}`, tuning)) : ""}
      let column = own * ${COLUMNS}u + lane;
      if (lane >= ${COLUMNS}u) { return; }
      ${each(few, (r) => `{ ${factor(shape, `squares${r}`)} ${result(r)} }`)}`;
}

function walk(shape: DecodeLinearShape, tuning: DecodeLinearTuning): string {
  const rows = range(shape.few);
  const columns = range(COLUMNS);
  const quads = range(perLoad(shape.b) / 4); // of a load of B
  const dots = (r: number) =>
    `vec4f(${columns.map((i) => quads.map((q) => `dot(y${r}_${q}, b${i}_${q})`).join(" + ")).join(", ")})`;
  const loadQuad = (row: number, q: number) => {
    const at = `at * ${quads.length}u + ${q}u`;
    return loadA(shape, { row, name: `y${row}_${q}`, at, gain: `gain[${at}]` });
  };
  return `
      ${columns.map((i) => `let lineB${i} = (${shape.gated ? "half * u.n + " : ""}own * ${COLUMNS}u + ${i}u) * line;`).join(" ")}
      for (var at = lane; at < line; at += ${tuning.lanes}u) {
        ${columns.map((i) => loadQuads(shape.b, `b${i}`, `b[lineB${i} + at]`)).join(" ")}
        ${rows.map((r) => `${quads.map((q) => loadQuad(r, q)).join(" ")} sum${r} += ${dots(r)};`).join("\n        ")}
      }
      ${rows.map((r) => joined(`sum${r}`, tuning)).join("\n      ")}`;
}

/** The product with the first half of B's rows, whose sums are kept in `gate`, then with the second. The loop's bound is hidden: unrolled, it compiles twice. */
function bothHalves(product: string, few: number): string {
  return `${each(few, (r) => `var gate${r} = sum${r};`, " ")}
      for (var half = 0u; half < 2u + (u.m >> 31u); half++) {
        ${each(few, (r) => `gate${r} = sum${r}; sum${r} = vec4f(); squares${r} = 0.0;`, " ")}
        ${product}
      }`;
}

interface Quad {
  row: number;
  name: string;
  at: string;
  /** What it is multiplied by: 0 behind the row's end. */
  counts?: string;
  /** The norm's weights. */
  gain: string;
}

/** A quad of A from `lineA`row on, behind the prologue; a norm's squares are added up. */
function loadA({ prologue }: DecodeLinearShape, { row, name, at, counts, gain }: Quad): string {
  const quad = `vec4f(a[lineA${row} + ${at}])${counts ? ` * ${counts}` : ""}`;
  if (prologue === "none") return `let ${name} = ${quad};`;
  return `let ${name}x = ${quad}; squares${row} += dot(${name}x, ${name}x); let ${name} = ${name}x * ${gain};`;
}

/** A norm's factor of a row of so many squares. */
const factor = ({ prologue }: DecodeLinearShape, squares: string): string =>
  prologue === "norm" ? `let factor = inverseSqrt(${squares} / f32(u.k) + u.eps);` : "";

/** Row r's element of a column from its sums, the first half's in `gate`. */
function store(
  { prologue, gated, a, residual }: DecodeLinearShape,
  r: number,
  { column, gate, up }: { column: string; gate: string; up: string },
): string {
  const at = `${r}u * u.n + ${column}`;
  const times = prologue === "norm" ? " * factor" : "";
  const skip = residual ? ` + f32(residual[${at}])` : "";
  const gating = gated ? `let gate = ${gate}${times};` : "";
  const value = `${gated ? "gate / (1.0 + exp(-gate)) * " : ""}${up}${times}`;
  return `if (${r}u < u.m && ${column} < u.n) { ${gating} c[${at}] = ${a}(${value}${skip}); }`;
}

/** Adds a variable up over the lanes. */
function joined(name: string, { lanes, shuffle }: DecodeLinearTuning): string {
  if (shuffle) return shuffledSum(name, lanes);
  const memory = name.startsWith("sum") ? "sums" : "squareSums";
  return `${memory}[lane] = ${name};
      for (var reach = ${lanes / 2}u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if (lane < reach) { ${memory}[lane] += ${memory}[lane + reach]; }
      }
      workgroupBarrier();
      ${name} = ${memory}[0];
      workgroupBarrier();`;
}
