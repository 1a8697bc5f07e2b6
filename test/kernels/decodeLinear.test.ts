import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { type DecodeLinearShape, type DecodeLinearTuning, decodeLinear } from "../../kernels/decodeLinear.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();
const EPS = 1e-3;

type Product = Pick<DecodeLinearShape, "prologue" | "gated">;
type Sizes = { m: number; n: number; k: number };
type More = Partial<Pick<DecodeLinearShape, "a" | "b" | "residual">>;

const products: [string, Product][] = [
  ["plain", { prologue: "none", gated: false }],
  ["normed", { prologue: "norm", gated: false }],
  ["gated", { prologue: "none", gated: true }],
  ["normed and gated", { prologue: "norm", gated: true }],
];

/** A's rows as the product takes them, in float64. */
function prepared(a: Float32Array, { prologue }: Product, gain: Float32Array, { m, k }: Sizes): number[][] {
  return Array.from({ length: m }, (_, r) => {
    const row = Array.from(a.subarray(r * k, (r + 1) * k));
    if (prologue === "none") return row;
    const rstd = 1 / Math.sqrt(row.reduce((sum, v) => sum + v * v, 0) / k + EPS);
    return row.map((v, i) => v * rstd * gain[i]);
  });
}

const rounded = (data: Float32Array, type: string) =>
  type === "f16" ? Float32Array.from(Float16Array.from(data)) : data;
const upload = (data: Float32Array, type: string) =>
  type === "f16" ? new Uint16Array(Float16Array.from(data).buffer) : data;

async function errorOf(product: Product, sizes: Sizes, more: More = {}, tuning?: DecodeLinearTuning) {
  const { m, n, k } = sizes;
  const few = [1, 2, 4, 8].find((rows) => m <= rows) as number;
  const shape: DecodeLinearShape = { ...product, a: "f32", b: "f32", residual: true, few, ...more };
  const a = rounded(noise(m * k, 1), shape.a);
  const b = rounded(noise((shape.gated ? 2 : 1) * n * k, 2), shape.b);
  const [gain, residual] = [noise(k, 3), rounded(noise(m * n, 4), shape.a)];
  const arrays = {
    a: upload(a, shape.a),
    b: upload(b, shape.b),
    ...(shape.prologue === "norm" ? { gain } : {}),
    ...(shape.residual ? { residual: upload(residual, shape.a) } : {}),
    c: upload(new Float32Array(m * n + 4).fill(5), shape.a),
  };
  const { c } = await runKernel(decodeLinear, arrays, ["c"], shape, { m, n, k, eps: EPS }, tuning);
  const got = shape.a === "f16" ? Float32Array.from(new Float16Array(c.buffer)) : c;
  const rows = prepared(a, product, gain, sizes);
  const dot = (row: number[], at: number) => row.reduce((sum, v, i) => sum + v * b[at * k + i], 0);
  const expected = Array.from({ length: m * n }, (_, i) => {
    const [row, column] = [rows[Math.floor(i / n)], i % n];
    const first = dot(row, column);
    const value = shape.gated ? (first / (1 + Math.exp(-first))) * dot(row, n + column) : first;
    return value + (shape.residual ? residual[i] : 0);
  });
  return worst(got, [...expected, 5, 5, 5, 5]);
}

for (const [name, product] of products) {
  test.each([
    [1, 4, 4],
    [1, 36, 68],
    [1, 20, 72],
    [3, 20, 132],
    [8, 12, 64],
  ])(`${name}: %p rows, %p columns, %p steps, equal float64`, async (m, n, k) => {
    expect(await errorOf(product, { m, n, k })).toBeLessThan(1e-5);
    expect(await errorOf(product, { m, n, k }, { residual: false })).toBeLessThan(1e-5);
    if (k % 8 === 0) expect(await errorOf(product, { m, n, k }, { b: "f16" })).toBeLessThan(1e-5);
  });

  for (const b of ["f32", "f16"] as const)
    for (const tuning of tuningSpace(decodeLinear, { ...product, a: "f32", b, residual: true, few: 2 }, target))
      test(`${name}, B ${b}, tuned to ${JSON.stringify(tuning)} equals float64`, async () =>
        expect(await errorOf(product, { m: 2, n: 12, k: 40 }, { b }, tuning)).toBeLessThan(1e-5));

  test.skipIf(!target.f16)(`${name} in f16 is summed in f32 and rounded once`, async () => {
    expect(await errorOf(product, { m: 1, n: 12, k: 256 }, { a: "f16", b: "f16" })).toBeLessThan(1e-3);
    expect(await errorOf(product, { m: 1, n: 12, k: 256 }, { a: "f16" })).toBeLessThan(1e-3);
  });
}
