import type { Kernel, Tuning } from "../../framework/device/kernel.ts";
import { type MatmulCall, type MatmulShape, matmulLaunch } from "../../kernels/matmul.ts";
import { noise, runKernel, worst } from "./launch.ts";

export const layouts = ["NN", "NT", "TN"] as const;

/** Elements behind C that no launch may touch, and behind A and B that none may use. */
const MARGIN = 32;
const MARK = 12345;

export function call(layout: MatmulCall["layout"], m: number, n: number, k: number, more: Partial<MatmulCall> = {}) {
  return {
    layout,
    m,
    n,
    k,
    batch: 1,
    strideA: m * k,
    strideB: k * n,
    a: "f32",
    b: "f32",
    c: "f32",
    ...more,
  } as MatmulCall;
}

/** The definition, in float64. */
export function reference(
  spec: MatmulCall,
  a: Float32Array,
  b: Float32Array,
  c: Float32Array,
  bias: Float32Array,
  residual: Float32Array,
) {
  const { layout, m, n, k, batch, strideA, strideB, alpha = 1 } = spec;
  const result = new Float64Array(batch * m * n);
  for (let at = 0; at < result.length; at++) {
    const [matrix, row, column] = [Math.floor(at / (m * n)), Math.floor(at / n) % m, at % n];
    let sum = 0;
    for (let i = 0; i < k; i++) {
      const left = a[matrix * strideA + (layout === "TN" ? i * m + row : row * k + i)];
      const right = b[matrix * strideB + (layout === "NT" ? column * k + i : i * n + column)];
      sum += left * right;
    }
    result[at] =
      alpha * sum + (spec.bias ? bias[column] : 0) + (spec.residual ? residual[at] : 0) + (spec.accumulate ? c[at] : 0);
  }
  return result;
}

const halves = (data: Float32Array) => new Uint16Array(Float16Array.from(data).buffer);
const upload = (data: Float32Array, type: string) => (type === "f16" ? halves(data) : data);
const rounded = (data: Float32Array, type: string) =>
  type === "f16" ? Float32Array.from(Float16Array.from(data)) : data;

/** With NaN behind the last element: a read past the end that counted would show. */
const fenced = (data: Float32Array) => Float32Array.of(...data, ...new Array(MARGIN).fill(Number.NaN));

/**
 * Runs a product on noise and gives the largest error against float64, or Infinity where an element behind C changed.
 */
export async function errorOf<T extends Tuning>(kernel: Kernel<MatmulShape, T>, spec: MatmulCall, tuning?: T) {
  const { m, n, k, batch, strideA, strideB } = spec;
  const a = rounded(noise(strideA * (batch - 1) + m * k, 1), spec.a);
  const b = rounded(noise(strideB * (batch - 1) + k * n, 2), spec.b);
  const bias = noise(n, 3);
  const size = batch * m * n;
  const residual = rounded(noise(size, 5), spec.c);
  const before = rounded(noise(size + (size % 2) + MARGIN, 4), spec.c).fill(MARK, size);
  const marked = rounded(before, spec.c);
  const { shape, uniforms } = matmulLaunch(spec);
  const arrays = {
    a: upload(fenced(a), spec.a),
    b: upload(fenced(b), spec.b),
    c: upload(marked, spec.c),
    ...(spec.bias ? { bias } : {}),
    ...(spec.residual ? { residual: upload(residual, spec.c) } : {}),
  };
  const { c } = await runKernel(kernel, arrays, ["c"], shape, uniforms, tuning);
  const after = spec.c === "f16" ? Float32Array.from(new Float16Array(c.buffer)) : c;
  if (after.subarray(size).some((value, i) => value !== marked[size + i])) return Number.POSITIVE_INFINITY;
  return worst(after.subarray(0, size), reference(spec, a, b, before, bias, residual));
}
