import { kernel, type Scalar, type Target } from "../framework/device/kernel.ts";
import { range } from "./shared/matmulParts.ts";

export interface DecodeLinearShape {
  [name: string]: string | boolean | number;
  /** What becomes of A before the product. norm: its rows' RMS norm. swiglu: silu of a row's first half times its second. */
  prologue: "none" | "norm" | "swiglu";
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
  /** Whether a lane has a column of its own, and A's elements from the lane that loaded them; else lanes share out k. */
  columns: number;
}

const MAX_GROUPS = 32768; // along one dimension
const COLUMNS = 4; // of a workgroup whose lanes share out k

/**
 * C [m, n] = prologue(A) · Bᵀ (+ residual) for few rows, as decoding has them: what stands between two products costs a launch there
 * that takes longer than its work. B is [n, k]; A is [m, k], or [m, 2k] for swiglu; k and n are multiples of four. B is read
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
  types: ({ a, b }) => ({ a: `vec4<${a}>`, b: b === "f16" ? "vec4u" : "vec4f", c: a, residual: a, gain: "vec4f" }),
  uniforms: { m: "u32", n: "u32", k: "u32", eps: "f32" },
  sizes: ["n", "k"],
  tuning: [
    { lanes: [64, 32, 128, 16, 8], shuffle: [0, 1], columns: [0] },
    { lanes: [4, 8, 16], shuffle: [1], columns: [1] },
  ],
  valid: (_, { lanes, shuffle }, target) => !shuffle || (target.subgroups && target.subgroupSize === lanes),
  pick: ({ b, prologue, few }, target: Target) => {
    const { subgroupSize: lanes } = target;
    if (target.class !== "software" || !target.subgroups || lanes < 8) return { lanes: 64, shuffle: 0, columns: 0 };
    const dear = prologue === "swiglu" && few > 2; // to make A for every four columns again
    return { lanes, shuffle: 1, columns: b === "f16" || dear ? 1 : 0 };
  },
  workgroups: (_, { lanes, columns }, { m, n }) => {
    const groups = m === 0 ? 0 : Math.ceil(n / (columns ? lanes : COLUMNS));
    return [Math.min(groups, MAX_GROUPS), Math.ceil(groups / MAX_GROUPS)];
  },
  cost: ({ a, b, prologue }, { m, n, k }) => ({
    flops: 2 * m * n * k,
    bytes: n * k * (b === "f16" ? 2 : 4) + m * (n + (prologue === "swiglu" ? 2 : 1) * k) * (a === "f16" ? 2 : 4),
  }),
  wgsl: (shape, tuning) => {
    const { prologue, few } = shape;
    const { lanes, shuffle, columns } = tuning;
    const rows = range(few);
    const width = prologue === "swiglu" ? 2 : 1;
    return `
    ${shuffle ? "" : `var<workgroup> sums: array<vec4f, ${lanes}>; var<workgroup> parts: array<f32, ${lanes}>;`}

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(${shuffle ? "subgroup_invocation_id" : "local_invocation_index"}) lane: u32) {
      let quads = u.k / 4u;
      let own = group.x + group.y * groups.x;
      ${rows.map((r) => `let lineA${r} = min(${r}u, u.m - 1u) * quads * ${width}u;`).join(" ")}
      ${prologue === "norm" ? rows.map((r) => `var squares${r} = 0.0;`).join(" ") : ""}
      ${columns ? columnEach(shape, tuning) : columnsTogether(shape, tuning)}
    }`;
  },
});

/** Lanes share out k, four columns at a time, and join their sums. */
function columnsTogether(shape: DecodeLinearShape, { lanes, shuffle }: DecodeLinearTuning): string {
  const { b, few } = shape;
  const rows = range(few);
  const columns = range(COLUMNS);
  const words = b === "f16" ? 2 : 1; // quads of A for a load of B
  const line = words === 2 ? "quads / 2u" : "quads";
  const join = (name: string) => (shuffle ? shuffled(name, lanes) : throughMemory(name, lanes));
  const dots = (r: number) =>
    `vec4f(${columns
      .map((i) =>
        range(words)
          .map((w) => `dot(y${r}_${w}, b${i}_${w})`)
          .join(" + "),
      )
      .join(", ")})`;
  return `
      if (own * ${COLUMNS}u >= u.n) { return; }
      ${columns.map((i) => `let lineB${i} = (own * ${COLUMNS}u + ${i}u) * (${line});`).join(" ")}
      ${rows.map((r) => `var sum${r} = vec4f();`).join(" ")}
      for (var at = lane; at < ${line}; at += ${lanes}u) {
        ${columns.map((i) => loadB(shape, `b${i}`, `lineB${i} + at`)).join(" ")}
        ${rows
          .map(
            (r) =>
              `${range(words)
                .map((w) => loadA(shape, r, `y${r}_${w}`, `at * ${words}u + ${w}u`))
                .join(" ")} sum${r} += ${dots(r)};`,
          )
          .join("\n        ")}
      }
      ${rows.map((r) => join(`sum${r}`)).join("\n      ")}
      ${shape.prologue === "norm" ? rows.map((r) => join(`squares${r}`)).join("\n      ") : ""}
      if (lane >= ${COLUMNS}u) { return; }
      ${rows.map((r) => store(shape, r, `own * ${COLUMNS}u + lane`, `sum${r}[lane]`)).join("\n      ")}`;
}

/** A column a lane. A's next elements are loaded by all lanes, a quad each, and handed round. */
function columnEach(shape: DecodeLinearShape, { lanes }: DecodeLinearTuning): string {
  const { b, few } = shape;
  const rows = range(few);
  const words = b === "f16" ? 2 : 1;
  const line = words === 2 ? "quads / 2u" : "quads";
  const products = (load: number) => {
    const terms = (r: number) =>
      range(words).map((w) => `dot(subgroupBroadcast(y${r}, ${load * words + w}u), b${load}_${w})`);
    const index = `lineB + min(at / ${words}u + ${load}u, ${line} - 1u)`;
    return `{ ${loadB(shape, `b${load}`, index)} ${rows.map((r) => `sum${r} += ${terms(r).join(" + ")};`).join(" ")} }`;
  };
  return `
      let column = own * ${lanes}u + lane;
      let lineB = min(column, u.n - 1u) * (${line});
      ${rows.map((r) => `var sum${r} = 0.0;`).join(" ")}
      for (var at = 0u; at < quads; at += ${lanes}u) {
        let mine = min(at + lane, quads - 1u);
        let counts = f32(at + lane < quads);
        ${rows.map((r) => loadA(shape, r, `y${r}`, "mine", "counts")).join("\n        ")}
        ${range(lanes / words)
          .map(products)
          .join("\n        ")}
      }
      ${shape.prologue === "norm" ? rows.map((r) => shuffled(`squares${r}`, lanes)).join("\n      ") : ""}
      if (column >= u.n) { return; }
      ${rows.map((r) => store(shape, r, "column", `sum${r}`)).join("\n      ")}`;
}

/** A quad of row r behind the prologue, times `counts`; a norm's squares are added up. */
function loadA({ prologue }: DecodeLinearShape, r: number, name: string, at: string, counts = ""): string {
  const times = counts && ` * ${counts}`;
  const quad = (place: string) => `vec4f(a[lineA${r} + ${place}])${times}`;
  if (prologue === "none") return `let ${name} = ${quad(at)};`;
  if (prologue === "norm")
    return `let ${name}x = ${quad(at)}; squares${r} += dot(${name}x, ${name}x); let ${name} = ${name}x * gain[${at}];`;
  return `let ${name}g = ${quad(at)}; let ${name} = ${name}g / (1.0 + exp(-${name}g)) * vec4f(a[lineA${r} + quads + ${at}]);`;
}

/** B's next four or eight elements, as quads `name`_0 and `name`_1. */
function loadB({ b }: DecodeLinearShape, name: string, at: string): string {
  if (b !== "f16") return `let ${name}_0 = b[${at}];`;
  const pair = (x: string) => `unpack2x16float(${name}.${x})`;
  return `let ${name} = b[${at}]; let ${name}_0 = vec4f(${pair("x")}, ${pair("y")}); let ${name}_1 = vec4f(${pair("z")}, ${pair("w")});`;
}

function store({ prologue, a, residual }: DecodeLinearShape, r: number, column: string, sum: string): string {
  const at = `${r}u * u.n + ${column}`;
  const factor = prologue === "norm" ? ` * inverseSqrt(squares${r} / f32(u.k) + u.eps)` : "";
  const skip = residual ? ` + f32(residual[${at}])` : "";
  return `if (${r}u < u.m) { c[${at}] = ${a}(${sum}${factor}${skip}); }`;
}

const shuffled = (name: string, lanes: number): string =>
  range(Math.log2(lanes))
    .map((i) => `${name} += subgroupShuffleXor(${name}, ${2 ** i}u);`)
    .join(" ");

function throughMemory(name: string, lanes: number): string {
  const memory = name.startsWith("sum") ? "sums" : "parts";
  return `${memory}[lane] = ${name};
      for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { ${memory}[lane] += ${memory}[lane + half]; }
      }
      workgroupBarrier();
      ${name} = ${memory}[0];
      workgroupBarrier();`;
}
