import { crossEntropy as crossEntropyKernel } from "../../kernels/crossEntropy.ts";
import { crossEntropyGradient } from "../../kernels/crossEntropyGradient.ts";
import { softmax as softmaxKernel } from "../../kernels/softmax.ts";
import { op } from "../autograd/op.ts";
import { DTypeError, ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { axisOf, contiguous, expectShape, showShape, sizeOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { copyStrided, elementwise, expectFloat } from "./elementwise.ts";
import { exp, mul, ne, sub } from "./pointwise.ts";
import { sum } from "./reduce.ts";
import { transpose } from "./shape.ts";

const lastAxis = op("softmax", {
  value(x: Tensor, log: boolean) {
    expectFloat(log ? "logSoftmax" : "softmax", x);
    const columns = x.dim(-1);
    const y = Tensor.empty(x.shape, x.dtype, "softmax");
    const rows = columns ? x.size / columns : 0;
    gpu().launch(softmaxKernel, { x: x.view(), y: y.view() }, { dtype: x.dtype, log }, { rows, columns });
    return { y, saved: { y, log } };
  },
  gradient(dy, { y, log }) {
    if (log) return [sub(dy, mul(exp(y), sum(dy, -1, { keepdim: true })))];
    return [mul(y, sub(dy, sum(mul(dy, y), -1, { keepdim: true })))];
  },
  twice: true,
}) as (x: Tensor, log: boolean) => Tensor;

function alongAxis(name: string, x: Tensor, axis: number, log: boolean): Tensor {
  const at = axisOf(name, axis, x.shape);
  return at === x.rank - 1 ? lastAxis(x, log) : transpose(lastAxis(transpose(x, at, -1), log), at, -1);
}

/** exp(x) / sum(exp(x)) along one axis. */
export function softmax(x: Tensor, axis = -1): Tensor {
  return alongAxis("softmax", x, axis, false);
}

/** x − logsumexp(x) along one axis. */
export function logSoftmax(x: Tensor, axis = -1): Tensor {
  return alongAxis("logSoftmax", x, axis, true);
}

export interface CrossEntropyOptions {
  /** Labels that do not count; −100 by default, as in PyTorch. */
  ignoreIndex?: number;
  reduction?: "mean" | "sum" | "none";
}

/** [rows, V] for logits [..., V], with what the labels must be. */
export function lossRows(name: string, rows: number, labels: Tensor, shape: readonly number[]): void {
  if (labels.dtype !== "i32") throw new DTypeError(`${name}: labels are ${labels.dtype}, expected i32`);
  if (labels.size !== rows)
    throw new ShapeError(
      `${name}: labels are ${showShape(labels.shape)}, expected one for each row of ${showShape(shape)}`,
    );
}

/** 1 / (labels that count), or 1: what the sum of the losses is multiplied by, as one f32 on the device. */
export function lossScale(labels: Tensor, ignoreIndex: number, reduction: "mean" | "sum" | "none"): Tensor {
  if (reduction !== "mean") return elementwise("one", "1.0", [], { dtype: "f32" });
  return elementwise("lossScale", "1.0 / a", [sum(ne(labels, ignoreIndex))]);
}

/**
 * Cross-entropy of logits and class labels.
 * @param logits [..., V], f32 or f16
 * @param labels i32 [...]; `ignoreIndex` (−100) where a row does not count; a label outside [0, V) gives NaN
 * @returns a single f32 (mean over the rows that count, or sum), or the losses of all rows ("none")
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  { ignoreIndex = -100, reduction = "mean" }: CrossEntropyOptions = {},
): Tensor {
  return crossEntropyOp(logits, labels, ignoreIndex, reduction);
}

const crossEntropyOp = op("crossEntropy", {
  value(logits: Tensor, labels: Tensor, ignore: number, reduction: "mean" | "sum" | "none") {
    expectFloat("crossEntropy", logits, "logits");
    const columns = logits.dim(-1);
    const rows = sizeOf(logits.shape.slice(0, -1));
    lossRows("crossEntropy", rows, labels, logits.shape);
    if (reduction === "none") expectShape("crossEntropy", "labels", labels.shape, logits.shape.slice(0, -1));
    const loss = Tensor.empty(logits.shape.slice(0, -1), "f32", "crossEntropy");
    const lse = Tensor.empty([rows], "f32", "crossEntropy.lse");
    const views = { x: logits.view(), label: labels.view(), loss: loss.view(), lse: lse.view() };
    gpu().launch(crossEntropyKernel, views, { dtype: logits.dtype }, { rows, columns, ignore });
    const scale = lossScale(labels, ignore, reduction);
    const y = reduction === "none" ? loss : mul(sum(loss), scale);
    return { y, saved: { logits, labels, lse, scale, rows, columns, ignore, perRow: reduction === "none" } };
  },
  gradient(dy, { logits, labels, lse, scale, rows, columns, ignore, perRow }) {
    const dx = Tensor.empty(logits.shape, logits.dtype, "crossEntropy.dx");
    copyStrided(logits, { strides: contiguous(logits.shape) }, dx, { strides: contiguous(logits.shape) }, logits.shape);
    const share = perRow ? dy : mul(dy, scale);
    const views = { x: dx.view(), label: labels.view(), lse: lse.view(), scale: share.view() };
    gpu().launch(
      crossEntropyGradient,
      views,
      { dtype: logits.dtype, perRow, halved: false },
      { rows, columns, ignore },
    );
    return [dx, null];
  },
});
