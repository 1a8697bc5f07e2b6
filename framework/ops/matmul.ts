import { matmulLaunch } from "../../kernels/matmul.ts";
import { op } from "../autograd/op.ts";
import type { View } from "../device/bindings.ts";
import { ShapeError } from "../device/errors.ts";
import { promote } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import { broadcastShapes, showShape, sizeOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { expectFloat } from "./elementwise.ts";
import { cast } from "./pointwise.ts";
import { sumTo } from "./reduce.ts";
import { expand, reshape } from "./shape.ts";

type Layout = "NN" | "NT" | "TN";

/** One launch: y [batch, m, n] = op(a) op(b), or y += it. A batch of 1 meets any other. */
export function launchMatmul(
  layout: Layout,
  a: Tensor,
  b: Tensor,
  y: Tensor,
  dims: { batch: number; m: number; n: number; k: number },
  more: { accumulate?: boolean; bias?: Tensor; residual?: Tensor } = {},
): void {
  const { batch, m, n } = dims;
  if (batch * m * n === 0) return;
  const stride = (x: Tensor) => (x.size === x.dim(-1) * x.dim(-2) || batch === 1 ? 0 : x.size / batch);
  const { kernel, shape, uniforms } = matmulLaunch({
    layout,
    ...dims,
    strideA: stride(a),
    strideB: stride(b),
    a: a.dtype,
    b: b.dtype,
    c: y.dtype,
    accumulate: more.accumulate ?? false,
    bias: more.bias !== undefined,
    residual: more.residual !== undefined,
  });
  const views: Record<string, View> = { a: a.view(), b: b.view(), c: y.view() };
  if (more.bias) views.bias = more.bias.view();
  if (more.residual) views.residual = more.residual.view();
  gpu().launch(kernel, views, shape, uniforms);
}

/** Rows, columns and reduced length of a product of two matrices under a layout. */
function dimsOf(
  layout: Layout,
  a: readonly number[],
  b: readonly number[],
): { m: number; n: number; k: number; kB: number } {
  const [ar, ac] = a.slice(-2);
  const [br, bc] = b.slice(-2);
  if (layout === "NN") return { m: ar, n: bc, k: ac, kB: br };
  return layout === "NT" ? { m: ar, n: br, k: ac, kB: bc } : { m: ac, n: bc, k: ar, kB: br };
}

/** The product of [B, ., .] and [B, ., .] under a layout; gradients are products under the others. */
const product = op("matmul", {
  value(a: Tensor, b: Tensor, layout: Layout) {
    const { m, n, k } = dimsOf(layout, a.shape, b.shape);
    const batch = Math.max(a.shape[0], b.shape[0]);
    const y = Tensor.empty([batch, m, n], promote(a.dtype, b.dtype), "matmul");
    launchMatmul(layout, a, b, y, { batch, m, n, k });
    return { y, saved: { a, b, layout } };
  },
  gradient(dy, { a, b, layout }, { needs }) {
    const da = { NN: () => product(dy, b, "NT"), NT: () => product(dy, b, "NN"), TN: () => product(b, dy, "NT") };
    const db = { NN: () => product(a, dy, "TN"), NT: () => product(dy, a, "TN"), TN: () => product(a, dy, "NN") };
    const fit = (g: Tensor, x: Tensor) => cast(sumTo(g, x.shape), x.dtype);
    return [needs(0) ? fit(da[layout](), a) : null, needs(1) ? fit(db[layout](), b) : null];
  },
  twice: true,
}) as (a: Tensor, b: Tensor, layout: Layout) => Tensor;

/**
 * torch.matmul: [..., m, k] times [..., k, n], the leading axes broadcast; a vector on either side is a row or a column.
 * @throws ShapeError where the inner sizes differ
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  expectFloat("matmul", a, "a");
  expectFloat("matmul", b, "b");
  if (a.rank === 0 || b.rank === 0) throw new ShapeError("matmul: a single number is no matrix; use mul");
  if (a.rank === 1) return dropAxis(matmul(reshape(a, [1, a.size]), b), b.rank === 1 ? -1 : -2);
  if (b.rank === 1) return dropAxis(matmul(a, reshape(b, [b.size, 1])), -1);
  const { m, n, k, kB } = dimsOf("NN", a.shape, b.shape);
  if (k !== kB)
    throw new ShapeError(
      `matmul: a is ${showShape(a.shape)} and b is ${showShape(b.shape)}: inner sizes ${k} and ${kB} differ`,
    );
  if (b.rank === 2)
    return reshape(product(reshape(a, [1, sizeOf(a.shape.slice(0, -1)), k]), reshape(b, [1, k, n]), "NN"), [
      ...a.shape.slice(0, -1),
      n,
    ]);
  const lead = broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  const flat = (x: Tensor) =>
    sizeOf(x.shape.slice(0, -2)) === 1
      ? reshape(x, [1, x.dim(-2), x.dim(-1)])
      : reshape(expand(x, [...lead, x.dim(-2), x.dim(-1)]), [-1, x.dim(-2), x.dim(-1)]);
  return reshape(product(flat(a), flat(b), "NN"), [...lead, m, n]);
}

function dropAxis(x: Tensor, axis: number): Tensor {
  return reshape(
    x,
    x.shape.filter((_, i) => i !== axis + x.rank),
  );
}
