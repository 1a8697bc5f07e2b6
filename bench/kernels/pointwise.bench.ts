import { pointwise } from "../../kernels/pointwise.ts";
import { kernelCase } from "../case.ts";

const n = 1 << 20;
const zero = Object.fromEntries(Object.keys(pointwise.uniforms ?? {}).map((name) => [name, 0]));
const flat = (expr: string, types: string) => ({ expr, types, rank: 0, vec4: true, update: false });
const [rows, columns] = [1024, 1024];
const transposed = { ...zero, n, d0: columns, d1: rows, a0: 1, a1: columns, y0: rows, y1: 1 };

export default [
  kernelCase(pointwise, "a + b, 1M", flat("a + b", "f32,f32>f32"), { a: 4 * n, b: 4 * n, y: 4 * n }, { ...zero, n }),
  kernelCase(
    pointwise,
    "silu(a) · b, 1M",
    flat("a / (1.0 + exp(-a)) * b", "f32,f32>f32"),
    { a: 4 * n, b: 4 * n, y: 4 * n },
    { ...zero, n },
  ),
  kernelCase(
    pointwise,
    "transpose 1024²",
    { expr: "a", types: "f32>f32", rank: 2, vec4: false, update: false },
    { a: 4 * n, y: 4 * n },
    transposed,
  ),
];
