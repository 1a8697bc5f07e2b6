import { expect, test } from "bun:test";
import { tuningSpace } from "../../framework/device/kernel.ts";
import { type DecodeLinearShape, type DecodeLinearTuning, decodeLinear } from "../../kernels/decodeLinear.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

const { target } = await testGpu();
const EPS = 1e-3;

type Prologue = DecodeLinearShape["prologue"];
type Sizes = { m: number; n: number; k: number };
type More = Partial<Pick<DecodeLinearShape, "a" | "b" | "residual">>;

/** A's rows as the product takes them, in float64. */
function prepared(a: Float32Array, prologue: Prologue, gain: Float32Array, { m, k }: Sizes): number[][] {
  return Array.from({ length: m }, (_, r) => {
    if (prologue === "swiglu")
      return Array.from({ length: k }, (_, i) => {
        const gate = a[r * 2 * k + i];
        return (gate / (1 + Math.exp(-gate))) * a[r * 2 * k + k + i];
      });
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

async function errorOf(prologue: Prologue, sizes: Sizes, more: More = {}, tuning?: DecodeLinearTuning) {
  const { m, n, k } = sizes;
  const few = [1, 2, 4, 8].find((rows) => m <= rows) as number;
  const shape: DecodeLinearShape = { prologue, a: "f32", b: "f32", residual: true, few, ...more };
  const a = rounded(noise(m * k * (prologue === "swiglu" ? 2 : 1), 1), shape.a);
  const b = rounded(noise(n * k, 2), shape.b);
  const [gain, residual] = [noise(k, 3), rounded(noise(m * n, 4), shape.a)];
  const arrays = {
    a: upload(a, shape.a),
    b: upload(b, shape.b),
    ...(prologue === "norm" ? { gain } : {}),
    ...(shape.residual ? { residual: upload(residual, shape.a) } : {}),
    c: upload(new Float32Array(m * n + 4).fill(5), shape.a),
  };
  const { c } = await runKernel(decodeLinear, arrays, ["c"], shape, { m, n, k, eps: EPS }, tuning);
  const got = shape.a === "f16" ? Float32Array.from(new Float16Array(c.buffer)) : c;
  const rows = prepared(a, prologue, gain, sizes);
  const expected = Array.from({ length: m * n }, (_, i) => {
    const [row, column] = [rows[Math.floor(i / n)], i % n];
    return row.reduce((sum, v, at) => sum + v * b[column * k + at], shape.residual ? residual[i] : 0);
  });
  return worst(got, [...expected, 5, 5, 5, 5]);
}

for (const prologue of ["none", "norm", "swiglu"] as const) {
  test.each([
    [1, 4, 4],
    [1, 36, 68],
    [1, 20, 72],
    [3, 20, 132],
    [8, 12, 64],
  ])(`${prologue}: %p rows, %p columns, %p steps, equal float64`, async (m, n, k) => {
    expect(await errorOf(prologue, { m, n, k })).toBeLessThan(1e-5);
    expect(await errorOf(prologue, { m, n, k }, { residual: false })).toBeLessThan(1e-5);
    if (k % 8 === 0) expect(await errorOf(prologue, { m, n, k }, { b: "f16" })).toBeLessThan(1e-5);
  });

  for (const b of ["f32", "f16"] as const)
    for (const tuning of tuningSpace(decodeLinear, { prologue, a: "f32", b, residual: true, few: 2 }, target))
      test(`${prologue}, B ${b}, tuned to ${JSON.stringify(tuning)} equals float64`, async () =>
        expect(await errorOf(prologue, { m: 2, n: 12, k: 40 }, { b }, tuning)).toBeLessThan(1e-5));

  test.skipIf(!target.f16)(`${prologue} in f16 is summed in f32 and rounded once`, async () => {
    expect(await errorOf(prologue, { m: 1, n: 12, k: 256 }, { a: "f16", b: "f16" })).toBeLessThan(1e-3);
    expect(await errorOf(prologue, { m: 1, n: 12, k: 256 }, { a: "f16" })).toBeLessThan(1e-3);
  });
}
