import { type Kernel, kernel, type Scalar, type Target, type Uniforms } from "../framework/device/kernel.ts";
import { broadcastSource } from "./shared/matmulBroadcast.ts";
import { dotSource } from "./shared/matmulDot.ts";
import { tiledSource } from "./shared/matmulTiled.ts";

/** Rows times columns: NN is a·b, NT is a·bᵀ (a linear layer), TN is aᵀ·b (its weight's gradient). Matrices are row-major. */
export type MatmulLayout = "NN" | "NT" | "TN";

export interface MatmulCall {
  layout: MatmulLayout;
  m: number;
  n: number;
  k: number;
  batch: number;
  /** Elements from one matrix of the batch to the next; 0 uses one for all. */
  strideA: number;
  strideB: number;
  a: Scalar;
  b: Scalar;
  c: Scalar;
  /** c += instead of c =. */
  accumulate?: boolean;
  /** Adds bias[n], f32. */
  bias?: boolean;
  alpha?: number;
}

/** What is compiled in: sizes are uniforms, so that a pipeline serves every shape of an alignment class. */
export interface MatmulShape {
  [name: string]: string | number | boolean;
  layout: MatmulLayout;
  a: Scalar;
  b: Scalar;
  c: Scalar;
  accumulate: boolean;
  bias: boolean;
  /** Rows of a, of b and of c are whole vec4s. */
  vecA: boolean;
  vecB: boolean;
  vecC: boolean;
  /** NT with up to 8 rows: their number, rounded up to a power of two; otherwise 0. */
  few: number;
}

export interface MatmulTuning {
  [name: string]: number;
  /** 0 shared-memory tiles, 1 subgroup broadcast, 2 dot products across lanes (few rows). */
  variant: number;
  /** Broadcast: output rows of a lane. Dot: lanes that share a column. */
  rows: number;
}

const TILED = 0;
const BROADCAST = 1;
const DOT = 2;

/** c [batch, m, n] = alpha · op(a) op(b) (+ bias) (+ c), summed in f32. Writes m·n elements a batch and nothing beside them. */
export const matmul = kernel<MatmulShape, MatmulTuning>({
  name: "matmul",
  bindings: ({ accumulate, bias }) => ({
    a: "read",
    b: "read",
    c: accumulate ? "update" : "write",
    ...(bias ? { bias: "read" as const } : {}),
  }),
  types: ({ a, b, c, vecA, vecB, vecC }, { variant }) => {
    const vector = (type: string, wide: boolean) => (wide && variant !== TILED ? `vec4<${type}>` : type);
    return { a: vector(a, vecA), b: vector(b, vecB), c: vector(c, vecC && variant === BROADCAST) };
  },
  uniforms: { m: "u32", n: "u32", k: "u32", batch: "u32", strideA: "u32", strideB: "u32", alpha: "f32" },
  tuning: { variant: [TILED, BROADCAST, DOT], rows: [1, 2, 4, 8, 16, 32] },
  valid: ({ few }, { variant, rows }, target) => {
    if (variant === TILED) return rows === 1;
    if (variant === BROADCAST) return target.subgroupSize > 0 && rows <= 4;
    return few > 0 && rows >= 8;
  },
  pick,
  workgroups: (_, { variant, rows }, { m, n, batch }) => {
    if (m * n * batch === 0) return [0];
    if (variant === TILED) return [Math.ceil(n / 64), Math.ceil(m / 64), batch];
    if (variant === BROADCAST) return [Math.ceil(n / (4 * SUBGROUP)), Math.ceil(m / (rows * SUBGROUP)), batch];
    return [Math.min(n, 32768), Math.ceil(n / 32768), batch];
  },
  cost: (_, { m, n, k, batch }) => ({ flops: 2 * batch * m * n * k, bytes: 4 * batch * (m * k + k * n + m * n) }),
  wgsl: (shape, { variant, rows }) => {
    if (variant === TILED) return tiledSource(shape);
    return variant === BROADCAST ? broadcastSource(shape, rows, SUBGROUP) : dotSource(shape, rows);
  },
});

/** The broadcast variant is for CPUs (llvmpipe), whose subgroups are a vector register of 8 floats. */
const SUBGROUP = 8;

function pick({ few }: MatmulShape, target: Target): MatmulTuning {
  if (few > 0) return { variant: DOT, rows: target.class === "software" ? 8 : 32 };
  return target.class === "software" && target.subgroupSize === SUBGROUP
    ? { variant: BROADCAST, rows: 4 }
    : { variant: TILED, rows: 1 };
}

/** The launch that computes a product: what is compiled in, and the sizes as uniforms. */
export function matmulLaunch(call: MatmulCall): {
  kernel: Kernel<MatmulShape, MatmulTuning>;
  shape: MatmulShape;
  uniforms: Uniforms;
} {
  const { layout, m, n, k, batch, strideA, strideB, a, b, c, accumulate = false, bias = false, alpha = 1 } = call;
  const aligned = (...sizes: number[]) => sizes.every((size) => size % 4 === 0);
  const shape: MatmulShape = {
    layout,
    a,
    b,
    c,
    accumulate,
    bias,
    vecA: aligned(layout === "TN" ? m : k, strideA),
    vecB: aligned(layout === "NT" ? k : n, strideB),
    vecC: aligned(n),
    few: layout === "NT" && m <= 8 ? 2 ** Math.ceil(Math.log2(Math.max(m, 1))) : 0,
  };
  return { kernel: matmul, shape, uniforms: { m, n, k, batch, strideA, strideB, alpha } };
}
