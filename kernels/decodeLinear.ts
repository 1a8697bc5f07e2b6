import { kernel, type Scalar, type Target } from "../framework/device/kernel.ts";
import { columnStep, loaded, loadQuads, perLoad, shuffledSum } from "./shared/decodeProduct.ts";
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
  /** B's loads in a step of a lane that has a column of its own, and A's elements from the lanes that loaded them. 0: lanes share out k. */
  loads: number;
}

const MAX_GROUPS = 32768; // along one dimension
const COLUMNS = 4; // of a workgroup whose lanes share out k

/**
 * C [m, n] = prologue(A) · Bᵀ (+ residual) for few rows, as decoding has them: what stands between two products costs a launch there
 * that takes longer than its work. A is [m, k]; B is [n, k], or [2n, k] if gated; k and n are multiples of four. B is read
 * once: by lanes that walk four columns of C along k together, in order; or by lanes that walk a column each, which on a CPU, where
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
  types: (shape, tuning) => {
    const [{ a, b }, each] = [shape, perLane(shape, tuning)];
    return { a: vector(each, a), b: loaded(b), c: a, residual: a, gain: vector(each, "f32") };
  },
  uniforms: { m: "u32", n: "u32", k: "u32", eps: "f32" },
  sizes: ["n", "k"],
  manyRegisters: true,
  tuning: [
    { lanes: [64, 32, 128, 16, 8], shuffle: [0, 1], loads: [0] },
    { lanes: [4, 8, 16], shuffle: [1], loads: [2, 4, 8] },
  ],
  valid: (shape, tuning, { subgroups, subgroupSize }) =>
    [1, 2, 4].includes(perLane(shape, tuning)) && (!tuning.shuffle || (subgroups && subgroupSize === tuning.lanes)),
  pick: ({ b }, { class: kind, subgroups, subgroupSize: lanes }: Target) => {
    if (kind !== "software" || !subgroups || ![4, 8, 16].includes(lanes)) return { lanes: 64, shuffle: 0, loads: 0 };
    return { lanes, shuffle: 1, loads: b === "f16" ? Math.max(2, lanes / 4) : lanes / 2 };
  },
  workgroups: (_, { lanes, loads }, { m, n }) => {
    const groups = m === 0 ? 0 : Math.ceil(n / (loads ? lanes : COLUMNS));
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
    const { prologue, gated, few } = shape;
    const { lanes, shuffle, loads } = tuning;
    const each = (line: (r: number) => string) => range(few).map(line).join("\n      ");
    const [sum, product, width, ending] = loads
      ? ["f32", columnEach(shape, tuning), lanes, ""]
      : ["vec4f", columnsTogether(shape, tuning), COLUMNS, "[lane]"];
    return `
    ${shuffle ? "" : `var<workgroup> sums: array<vec4f, ${lanes}>; var<workgroup> squareSums: array<f32, ${lanes}>;`}

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(${shuffle ? "subgroup_invocation_id" : "local_invocation_index"}) lane: u32) {
      let own = group.x + group.y * groups.x;
      if (own * ${width}u >= u.n) { return; }
      let parts = u.k / ${perLane(shape, tuning)}u;
      let line = u.k / ${perLoad(shape.b)}u;
      ${each((r) => `let lineA${r} = min(${r}u, u.m - 1u) * parts; var sum${r} = ${sum}(); var squares${r} = 0.0;`)}
      ${gated ? bothHalves(product, few, sum) : product}
      ${prologue === "norm" ? each((r) => joined(`squares${r}`, tuning)) : ""}
      let column = own * ${width}u + lane;
      if (lane >= ${width}u || column >= u.n) { return; }
      ${each((r) => store(shape, r, ending))}
    }`;
  },
});

/** Elements of A in a load: a lane's part of a step where they are handed round, else four. */
const perLane = (shape: DecodeLinearShape, { lanes, loads }: DecodeLinearTuning) =>
  loads ? (loads * perLoad(shape.b)) / lanes : 4;

const vector = (size: number, type: string) => (size === 1 ? type : `vec${size}<${type}>`);

/** Lanes share out k, four columns at a time, and join their sums. */
function columnsTogether(shape: DecodeLinearShape, tuning: DecodeLinearTuning): string {
  const rows = range(shape.few);
  const columns = range(COLUMNS);
  const quads = range(perLoad(shape.b) / 4); // of a load of B
  const dots = (r: number) =>
    `vec4f(${columns.map((i) => quads.map((q) => `dot(y${r}_${q}, b${i}_${q})`).join(" + ")).join(", ")})`;
  const loads = (r: number) => quads.map((q) => loadA(shape, r, 4, `y${r}_${q}`, `at * ${quads.length}u + ${q}u`));
  return `
      ${columns.map((i) => `let lineB${i} = (${first(shape)}own * ${COLUMNS}u + ${i}u) * line;`).join(" ")}
      for (var at = lane; at < line; at += ${tuning.lanes}u) {
        ${columns.map((i) => loadQuads(shape.b, `b${i}`, `b[lineB${i} + at]`)).join(" ")}
        ${rows.map((r) => `${loads(r).join(" ")} sum${r} += ${dots(r)};`).join("\n        ")}
      }
      ${rows.map((r) => joined(`sum${r}`, tuning)).join("\n      ")}`;
}

/** A column a lane. A's next elements are loaded by all lanes, a part each, and handed round. */
function columnEach(shape: DecodeLinearShape, tuning: DecodeLinearTuning): string {
  const { lanes, loads } = tuning;
  const rows = range(shape.few);
  const [each, perB] = [perLane(shape, tuning), perLoad(shape.b)];
  const load = (i: number) => `b[lineB + min(at + ${i}u, line - 1u)]`;
  return `
      let lineB = (${first(shape)}min(own * ${lanes}u + lane, u.n - 1u)) * line;
      for (var at = 0u; at < line; at += ${loads}u) {
        let part = at * ${perB / each}u + lane;
        let mine = min(part, parts - 1u);
        let counts = f32(part < parts);
        ${rows.map((r) => loadA(shape, r, each, `y${r}`, "mine", "counts")).join("\n        ")}
        ${columnStep({ b: shape.b, loads, load, each, rows })}
      }`;
}

/** The product with the first half of B's rows, whose sums are kept in `gate`, then with the second. The loop's bound is hidden: unrolled, it compiles twice. */
function bothHalves(product: string, few: number, sum: string): string {
  const each = (line: (r: number) => string) => range(few).map(line).join(" ");
  return `${each((r) => `var gate${r} = sum${r};`)}
      for (var half = 0u; half < 2u + (u.m >> 31u); half++) {
        ${each((r) => `gate${r} = sum${r}; sum${r} = ${sum}(); squares${r} = 0.0;`)}
        ${product}
      }`;
}

/** Where the matrix being walked begins among B's rows. */
const first = ({ gated }: DecodeLinearShape) => (gated ? "half * u.n + " : "");

/** `each` elements of row r behind the prologue, times `counts`; a norm's squares are added up. */
function loadA(shape: DecodeLinearShape, r: number, each: number, name: string, at: string, counts = ""): string {
  const part = `${vector(each, "f32")}(a[lineA${r} + ${at}])${counts && ` * ${counts}`}`;
  if (shape.prologue === "none") return `let ${name} = ${part};`;
  const square = each === 1 ? `${name}x * ${name}x` : `dot(${name}x, ${name}x)`;
  return `let ${name}x = ${part}; squares${r} += ${square}; let ${name} = ${name}x * gain[${at}];`;
}

function store({ prologue, gated, a, residual }: DecodeLinearShape, r: number, ending: string): string {
  const at = `${r}u * u.n + column`;
  const factor = prologue === "norm" ? ` * inverseSqrt(squares${r} / f32(u.k) + u.eps)` : "";
  const skip = residual ? ` + f32(residual[${at}])` : "";
  const value = `sum${r}${ending}${factor}`;
  const gate = gated ? `let gate = gate${r}${ending}${factor};` : "";
  return `if (${r}u < u.m) { ${gate} c[${at}] = ${a}(${gated ? `gate / (1.0 + exp(-gate)) * ${value}` : value}${skip}); }`;
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
