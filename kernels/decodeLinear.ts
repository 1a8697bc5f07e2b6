import { kernel, type Scalar, type Target } from "../framework/device/kernel.ts";
import { range } from "./shared/matmulParts.ts";

export interface DecodeLinearShape {
  [name: string]: string | boolean | number;
  /** What becomes of A before the product. norm: its rows' RMS norm. swiglu: silu of a row's first half times its second. */
  prologue: "norm" | "swiglu";
  a: Scalar;
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
}

const MAX_GROUPS = 32768; // along one dimension

/**
 * C [m, n] = prologue(A) · Bᵀ (+ residual) for few rows, as decoding has them: what stands between two products costs a launch there
 * that takes longer than its work. B is [n, k]; A is [m, k], or [m, 2k] for swiglu; k and n are multiples of four. Lanes walk four
 * columns of C along k together, so that B is read once and in order. A norm's factor is known only at the end of the
 * row, and is put in there. C and the residual are of A's dtype.
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
  types: ({ a, b }) => ({ a: `vec4<${a}>`, b: `vec4<${b}>`, c: `vec4<${a}>`, residual: `vec4<${a}>`, gain: "vec4f" }),
  uniforms: { m: "u32", n: "u32", k: "u32", eps: "f32" },
  sizes: ["n", "k"],
  tuning: { lanes: [64, 32, 128, 16, 8], shuffle: [0, 1] },
  valid: (_, { lanes, shuffle }, target) => !shuffle || (target.subgroups && target.subgroupSize === lanes),
  pick: (_, target: Target) =>
    target.class === "software" && target.subgroups && target.subgroupSize >= 8
      ? { lanes: target.subgroupSize, shuffle: 1 }
      : { lanes: 64, shuffle: 0 },
  workgroups: (_, __, { m, n }) => {
    const groups = m === 0 ? 0 : n / 4;
    return [Math.min(groups, MAX_GROUPS), Math.ceil(groups / MAX_GROUPS)];
  },
  cost: ({ a, b, prologue }, { m, n, k }) => ({
    flops: 2 * m * n * k,
    bytes: n * k * (b === "f16" ? 2 : 4) + m * (n + (prologue === "norm" ? 1 : 2) * k) * (a === "f16" ? 2 : 4),
  }),
  wgsl: ({ prologue, a, residual, few }, { lanes, shuffle }) => {
    const rows = range(few);
    const norm = prologue === "norm";
    const each = (statement: (r: number) => string) => rows.map(statement).join(" ");
    const prepared = norm
      ? (r: number) =>
          `let x${r} = vec4f(a[lineA${r} + at]); squares${r} += dot(x${r}, x${r}); let y${r} = x${r} * gain[at];`
      : (r: number) =>
          `let g${r} = vec4f(a[lineA${r} + at]); let y${r} = g${r} / (1.0 + exp(-g${r})) * vec4f(a[lineA${r} + quads + at]);`;
    const sums = rows.flatMap((r) => (norm ? [`sum${r}`, `squares${r}`] : [`sum${r}`]));
    return `
    ${shuffle ? "" : `var<workgroup> sums: array<vec4f, ${lanes}>; var<workgroup> parts: array<f32, ${lanes}>;`}

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(${shuffle ? "subgroup_invocation_id" : "local_invocation_index"}) lane: u32) {
      let quads = u.k / 4u;
      let columns = u.n / 4u;
      let column = group.x + group.y * groups.x;
      if (column >= columns) { return; }
      ${range(4)
        .map((i) => `let lineB${i} = (column * 4u + ${i}u) * quads;`)
        .join(" ")}
      ${each((r) => `let lineA${r} = min(${r}u, u.m - 1u) * quads${norm ? "" : " * 2u"};`)}
      ${each((r) => `var sum${r} = vec4f(); ${norm ? `var squares${r} = 0.0;` : ""}`)}
      for (var at = lane; at < quads; at += ${lanes}u) {
        ${range(4)
          .map((i) => `let b${i} = vec4f(b[lineB${i} + at]);`)
          .join(" ")}
        ${rows
          .map((r) => `${prepared(r)} sum${r} += vec4f(${range(4).map((i) => `dot(y${r}, b${i})`)});`)
          .join("\n        ")}
      }
      ${sums.map((name) => (shuffle ? shuffled(name, lanes) : throughMemory(name, lanes))).join("\n      ")}
      ${each((r) => {
        const factor = norm ? ` * inverseSqrt(squares${r} / f32(u.k) + u.eps)` : "";
        const skip = residual ? ` + vec4f(residual[${r}u * columns + column])` : "";
        return `if (lane == 0u && ${r}u < u.m) { c[${r}u * columns + column] = vec4<${a}>(sum${r}${factor}${skip}); }`;
      })}
    }`;
  },
});

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
