import { cumsum as cumsumKernel } from "../../kernels/cumsum.ts";
import { type Reduction, reduce } from "../../kernels/reduce.ts";
import { noGrad } from "../autograd/graph.ts";
import { op } from "../autograd/op.ts";
import { MicroMindError } from "../device/errors.ts";
import { type DType, isFloat } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import { axisOf, type Dims, sameShape, sizeOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { add, cast, div, eq, exp, log, mul, sub, where } from "./pointwise.ts";
import { expand, permute, reshape } from "./shape.ts";

/** One axis, several, or all where silent. */
export type Axes = number | readonly number[];

export interface ReduceOptions {
  /** Keeps the reduced axes as 1. */
  keepdim?: boolean;
}

/** Axes as sorted, distinct, non-negative numbers. */
function axesOf(name: string, x: Tensor, axes?: Axes): number[] {
  if (axes === undefined) return x.shape.map((_, i) => i);
  const list = typeof axes === "number" ? [axes] : axes;
  return [...new Set(list.map((axis) => axisOf(name, axis, x.shape)))].sort((a, b) => a - b);
}

function keptShape(shape: Dims, axes: readonly number[]): number[] {
  return shape.map((dim, i) => (axes.includes(i) ? 1 : dim));
}

function outShape(shape: Dims, axes: readonly number[], keepdim = false): number[] {
  return keepdim ? keptShape(shape, axes) : shape.filter((_, i) => !axes.includes(i));
}

/** x as [outer, length, inner] with the reduced axes in the middle; neighbours that are not adjacent are moved together. */
function gathered(x: Tensor, axes: readonly number[]): { x: Tensor; outer: number; length: number; inner: number } {
  const first = axes[0] ?? x.rank;
  const length = sizeOf(axes.map((a) => x.shape[a]));
  const adjacent = axes.every((axis, i) => axis === first + i);
  if (!adjacent) {
    const rest = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
    return { x: permute(x, [...rest, ...axes]), outer: x.size / Math.max(length, 1), length, inner: 1 };
  }
  return { x, outer: sizeOf(x.shape.slice(0, first)), length, inner: sizeOf(x.shape.slice(first + axes.length)) };
}

const TOGETHER = 128; // rows at least this long get a workgroup each
const PIECE = 2048; // elements that one lane or workgroup sums before a second launch joins the pieces
const FEW_ROWS = 512;

function runReduce(op: Reduction, x: Tensor, axes: readonly number[], shape: Dims, dtype: DType): Tensor {
  const { x: source, outer, length, inner } = gathered(x, axes);
  const rows = outer * inner;
  const y = Tensor.empty(shape, dtype, op);
  if (length === 0 && op !== "sum" && op !== "sumSquares" && rows > 0)
    throw new MicroMindError(`${op}: no elements along the reduced axes of ${x}`);
  const splits = !op.startsWith("arg") && rows < FEW_ROWS && length > 2 * PIECE;
  if (!splits) {
    launchReduce(op, source, y, outer, length, inner, Math.max(length, 1));
    return y;
  }
  const pieces = Math.ceil(length / PIECE);
  const partial = Tensor.empty([outer, pieces, inner], x.dtype === "f16" ? "f32" : x.dtype, op);
  launchReduce(op, source, partial, outer, length, inner, PIECE);
  launchReduce(op === "sumSquares" ? "sum" : op, partial, y, outer, pieces, inner, pieces);
  return y;
}

function launchReduce(
  op: Reduction,
  x: Tensor,
  y: Tensor,
  outer: number,
  length: number,
  inner: number,
  piece: number,
): void {
  if (y.size === 0) return;
  const together = inner === 1 && Math.min(length, piece) >= TOGETHER;
  const uniforms = { outer, length, inner, piece, pieces: Math.max(1, Math.ceil(length / piece)) };
  gpu().launch(reduce, { x: x.view(), y: y.view() }, { op, x: x.dtype, y: y.dtype, together }, uniforms);
}

const sumOp = op("sum", {
  value(x: Tensor, axes: readonly number[], keepdim: boolean) {
    const y = runReduce("sum", x, axes, outShape(x.shape, axes, keepdim), x.dtype);
    return { y, saved: { shape: x.shape, kept: keptShape(x.shape, axes) } };
  },
  gradient: (dy, { shape, kept }) => [expand(reshape(dy, kept), shape)],
  twice: true,
});

/** The sum over the axes given, or over all. */
export function sum(x: Tensor, axes?: Axes, { keepdim = false }: ReduceOptions = {}): Tensor {
  return sumOp(x, axesOf("sum", x, axes), keepdim);
}

/** The sum of squares of all elements as one f32: what a gradient's norm is made of. No gradient of its own. */
export function sumSquares(x: Tensor): Tensor {
  return noGrad(() => runReduce("sumSquares", x, axesOf("sumSquares", x), [], "f32"));
}

/** The mean along the axes; f16 is summed and divided in f32, so that only the result must fit. */
export function mean(x: Tensor, axes?: Axes, options: ReduceOptions = {}): Tensor {
  const list = axesOf("mean", x, axes);
  const total = sum(cast(x, "f32"), list, options);
  return cast(div(total, sizeOf(list.map((a) => x.shape[a]))), isFloat(x.dtype) ? x.dtype : "f32");
}

function extremum(name: "max" | "min") {
  return op(name, {
    value(x: Tensor, axes: readonly number[], keepdim: boolean) {
      const y = runReduce(name, x, axes, outShape(x.shape, axes, keepdim), x.dtype);
      return { y, saved: { x, y, axes, kept: keptShape(x.shape, axes) } };
    },
    gradient(dy, { x, y, axes, kept }) {
      const wins = eq(x, reshape(y, kept)); // ties share, as in PyTorch's amax
      return [mul(wins, div(reshape(dy, kept), sum(wins, axes, { keepdim: true })))];
    },
    twice: true,
  });
}

const maxOp = extremum("max");
const minOp = extremum("min");

/** The largest element along the axes (torch.amax); equal ones share the gradient. */
export function max(x: Tensor, axes?: Axes, { keepdim = false }: ReduceOptions = {}): Tensor {
  return maxOp(x, axesOf("max", x, axes), keepdim);
}

/** The smallest element along the axes (torch.amin); equal ones share the gradient. */
export function min(x: Tensor, axes?: Axes, { keepdim = false }: ReduceOptions = {}): Tensor {
  return minOp(x, axesOf("min", x, axes), keepdim);
}

/** The index (i32) of the first largest element along one axis, or of all elements counted flat. */
export function argmax(x: Tensor, axis?: number, { keepdim = false }: ReduceOptions = {}): Tensor {
  const axes = axesOf("argmax", x, axis);
  return noGrad(() => runReduce("argmax", x, axes, outShape(x.shape, axes, keepdim), "i32"));
}

/** Variance along the axes, computed in f32; `correction` 1 divides by n - 1 (PyTorch's default), 0 by n. */
export function variance(
  x: Tensor,
  axes?: Axes,
  { keepdim = false, correction = 1 }: ReduceOptions & { correction?: number } = {},
): Tensor {
  const list = axesOf("var", x, axes);
  const wide = cast(x, "f32");
  const centred = sub(wide, mean(wide, list, { keepdim: true }));
  const total = sum(mul(centred, centred), list, { keepdim });
  return cast(div(total, sizeOf(list.map((a) => x.shape[a])) - correction), isFloat(x.dtype) ? x.dtype : "f32");
}

/** log(sum(exp(x))) along the axes, shifted by the maximum so that nothing overflows. */
export function logsumexp(x: Tensor, axes?: Axes, { keepdim = false }: ReduceOptions = {}): Tensor {
  const list = axesOf("logsumexp", x, axes);
  const top = noGrad(() => {
    const m = max(x, list, { keepdim: true });
    return where(eq(sub(m, m), 0), m, 0); // an infinite maximum would make NaN of infinity - infinity
  });
  const y = add(log(sum(exp(sub(x, top)), list, { keepdim: true })), top);
  return reshape(y, outShape(x.shape, list, keepdim));
}

const cumsumOp = op("cumsum", {
  value(x: Tensor, axis: number, reverse: boolean) {
    const y = Tensor.empty(x.shape, x.dtype, "cumsum");
    const [outer, length, inner] = [sizeOf(x.shape.slice(0, axis)), x.shape[axis], sizeOf(x.shape.slice(axis + 1))];
    if (y.size)
      gpu().launch(cumsumKernel, { x: x.view(), y: y.view() }, { dtype: x.dtype, reverse }, { outer, length, inner });
    return { y, saved: { axis, reverse } };
  },
  gradient: (dy, { axis, reverse }) => [cumsumOp(dy, axis, !reverse)],
  twice: true,
}) as (x: Tensor, axis: number, reverse: boolean) => Tensor;

/** Running sums along one axis. */
export function cumsum(x: Tensor, axis: number): Tensor {
  return cumsumOp(x, axisOf("cumsum", axis, x.shape), false);
}

/** Sums what broadcasting stretched, back to `shape`. */
export function sumTo(x: Tensor, shape: Dims): Tensor {
  if (sameShape(x.shape, shape)) return x;
  const lead = x.rank - shape.length;
  const axes = x.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && x.shape[i] !== 1));
  return reshape(axes.length ? sum(x, axes) : x, shape);
}
