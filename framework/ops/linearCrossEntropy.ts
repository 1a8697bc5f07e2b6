import { crossEntropy as crossEntropyKernel } from "../../kernels/crossEntropy.ts";
import { crossEntropyGradient } from "../../kernels/crossEntropyGradient.ts";
import { isRecording, nodeOf } from "../autograd/graph.ts";
import { op } from "../autograd/op.ts";
import { MicroMindError, ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import { showShape } from "../tensor/shape.ts";
import { ALIGN, Tensor } from "../tensor/tensor.ts";
import { elementwise, expectFloat, fill, updateInPlace } from "./elementwise.ts";
import { readAs } from "./linear.ts";
import { launchMatmul } from "./matmul.ts";
import { mul } from "./pointwise.ts";
import { sum } from "./reduce.ts";
import { lossRows, lossScale } from "./softmax.ts";

/** Elements of logits that exist at a time. */
const CHUNK = 1 << 24;

/**
 * crossEntropy(x · weightᵀ, labels) by pieces of rows, so that the logits of a batch never exist whole. Where a gradient is wanted it is
 * computed along with the value, while the piece's logits are at hand.
 * @param x      [N, D], f32 or f16; the logits, the loss and all sums are f32
 * @param weight [V, D]
 * @param labels i32 [N]; `ignoreIndex` (−100) where a row does not count
 * @returns one f32: the mean over rows that count, or the sum
 * Hsu et al. 2024 (Liger), arXiv:2410.10989
 */
export function linearCrossEntropy(
  x: Tensor,
  weight: Tensor,
  labels: Tensor,
  { ignoreIndex = -100, reduction = "mean", gradientScale }: LinearCrossEntropyOptions = {},
): Tensor {
  if (x.rank !== 2 || weight.rank !== 2 || x.shape[1] !== weight.shape[1]) {
    throw new ShapeError(
      `linearCrossEntropy: x is ${showShape(x.shape)} and weight ${showShape(weight.shape)}, expected [N, D] and [V, D]`,
    );
  }
  expectFloat("linearCrossEntropy", x);
  lossRows("linearCrossEntropy", x.shape[0], labels, x.shape);
  const wanted = isRecording()
    ? { x: nodeOf(x) !== undefined, weight: nodeOf(weight) !== undefined }
    : { x: false, weight: false };
  if (x.dtype === "f16" && (wanted.x || wanted.weight) && !gradientScale)
    throw new MicroMindError(
      "linearCrossEntropy: x is f16 and its gradient is wanted, but no gradientScale is given; small gradients would be lost. Give the optimizer's: { gradientScale: optimizer.gradientScale }",
    );
  return fused(x, weight, labels, gradientScale, { ignore: ignoreIndex, reduction, wanted });
}

export interface LinearCrossEntropyOptions {
  /** Labels that do not count; −100 by default. */
  ignoreIndex?: number;
  reduction?: "mean" | "sum";
  /** One f32 on the device that all gradients of this loss come multiplied by, so that small ones survive in f16. */
  gradientScale?: Tensor;
}

interface Settings {
  ignore: number;
  reduction: "mean" | "sum";
  wanted: { x: boolean; weight: boolean };
}

const fused = op("linearCrossEntropy", {
  value(
    x: Tensor,
    weight: Tensor,
    labels: Tensor,
    gradientScale: Tensor | undefined,
    { ignore, reduction, wanted }: Settings,
  ) {
    const [rows, D] = x.shape;
    const V = weight.shape[0];
    const read = readAs(weight, x.dtype);
    const halved = x.dtype === "f16";
    const losses = Tensor.empty([rows], "f32", "linearCrossEntropy.losses");
    const scale = lossScale(labels, ignore, reduction);
    const slope = gradientScale ? mul(scale, gradientScale) : scale;
    const dx = wanted.x ? Tensor.empty([rows, D], x.dtype, "linearCrossEntropy.dx") : undefined;
    const dweight = wanted.weight ? Tensor.empty([V, D], "f32", "linearCrossEntropy.dweight") : undefined;
    const step = Math.max(ALIGN, Math.floor(CHUNK / V / ALIGN) * ALIGN);
    for (let start = 0; start < rows; start += step) {
      scope(() => {
        const n = Math.min(step, rows - start);
        const part = (t: Tensor, columns: number) => t.window(start * columns, columns === 1 ? [n] : [n, columns]);
        const xPart = part(x, D);
        const logits = Tensor.empty([n, V], "f32", "logits");
        const lse = Tensor.empty([n], "f32", "lse");
        launchMatmul("NT", xPart, read, logits, { batch: 1, m: n, n: V, k: D });
        const uniforms = { rows: n, columns: V, ignore };
        const views = { x: logits.view(), label: part(labels.reshape(rows), 1).view(), lse: lse.view() };
        gpu().launch(crossEntropyKernel, { ...views, loss: part(losses, 1).view() }, { dtype: "f32" }, uniforms);
        if (!dx && !dweight) return;
        const slopes = halved ? Tensor.empty([n, V], "f16", "dlogits") : logits;
        gpu().launch(
          crossEntropyGradient,
          { ...views, scale: slope.view(), ...(halved ? { half: slopes.view() } : {}) },
          { dtype: "f32", perRow: false, halved },
          uniforms,
        );
        if (dx) launchMatmul("NN", slopes, read, part(dx, D), { batch: 1, m: n, n: D, k: V });
        const more = { accumulate: start > 0 };
        if (dweight) launchMatmul("TN", slopes, xPart, dweight, { batch: 1, m: V, n: D, k: n }, more);
      });
    }
    if (dweight && rows === 0) fill(dweight, 0);
    return { y: mul(sum(losses), scale), saved: { dx, dweight } };
  },
  gradient(dy, { dx, dweight }, { into }) {
    const target = into(1);
    if (target && dweight) updateInPlace("old + a * b", target, [dweight, dy]);
    const scaled = (x: Tensor) => elementwise("linearCrossEntropy.scaled", "a * b", [x, dy], { dtype: x.dtype });
    return [dx ? scaled(dx) : null, dweight && !target ? scaled(dweight) : null, null];
  },
});
