import { crossEntropy as crossEntropyKernel } from "../../kernels/crossEntropy.ts";
import { crossEntropyGradient } from "../../kernels/crossEntropyGradient.ts";
import { isRecording, nodeOf } from "../autograd/graph.ts";
import { op } from "../autograd/op.ts";
import { ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import { showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { fill, updateInPlace } from "./elementwise.ts";
import { launchMatmul } from "./matmul.ts";
import { mul } from "./pointwise.ts";
import { sum } from "./reduce.ts";
import { type CrossEntropyOptions, lossRows, lossScale } from "./softmax.ts";

/** Elements of logits that exist at a time. */
const CHUNK = 1 << 24;

/**
 * crossEntropy(x · weightᵀ, labels) by pieces of rows, so that the logits of a batch never exist whole. Where a gradient is wanted it is
 * computed along with the value, while the piece's logits are at hand.
 * @param x      [N, D], f32
 * @param weight [V, D]
 * @param labels i32 [N]; `ignoreIndex` (−100) where a row does not count
 * @returns one f32: the mean over rows that count, or the sum
 * Hsu et al. 2024 (Liger), arXiv:2410.10989
 */
export function linearCrossEntropy(
  x: Tensor,
  weight: Tensor,
  labels: Tensor,
  {
    ignoreIndex = -100,
    reduction = "mean",
  }: Omit<CrossEntropyOptions, "reduction"> & { reduction?: "mean" | "sum" } = {},
): Tensor {
  if (x.rank !== 2 || weight.rank !== 2 || x.shape[1] !== weight.shape[1]) {
    throw new ShapeError(
      `linearCrossEntropy: x is ${showShape(x.shape)} and weight ${showShape(weight.shape)}, expected [N, D] and [V, D]`,
    );
  }
  lossRows("linearCrossEntropy", x.shape[0], labels, x.shape);
  const wanted = isRecording()
    ? { x: nodeOf(x) !== undefined, weight: nodeOf(weight) !== undefined }
    : { x: false, weight: false };
  return fused(x, weight, labels, ignoreIndex, reduction, wanted);
}

const fused = op("linearCrossEntropy", {
  value(
    x: Tensor,
    weight: Tensor,
    labels: Tensor,
    ignore: number,
    reduction: "mean" | "sum",
    wanted: { x: boolean; weight: boolean },
  ) {
    const [rows, D] = x.shape;
    const V = weight.shape[0];
    const losses = Tensor.empty([rows], "f32", "linearCrossEntropy.losses");
    const scale = lossScale(labels, ignore, reduction);
    const dx = wanted.x ? Tensor.empty([rows, D], "f32", "linearCrossEntropy.dx") : undefined;
    const dweight = wanted.weight ? fill(Tensor.empty([V, D], "f32", "linearCrossEntropy.dweight"), 0) : undefined;
    const step = Math.max(64, Math.floor(CHUNK / V / 64) * 64); // pieces start on 256 bytes
    for (let start = 0; start < rows; start += step) {
      scope(() => {
        const n = Math.min(step, rows - start);
        const part = (t: Tensor, columns: number) => t.window(start * columns, columns === 1 ? [n] : [n, columns]);
        const xPart = part(x, D);
        const label = part(labels.reshape(rows), 1);
        const logits = Tensor.empty([n, V], "f32", "logits");
        const lse = Tensor.empty([n], "f32", "lse");
        launchMatmul("NT", xPart, weight, logits, { batch: 1, m: n, n: V, k: D });
        const uniforms = { rows: n, columns: V, ignore };
        const views = { x: logits.view(), label: label.view(), lse: lse.view() };
        gpu().launch(crossEntropyKernel, { ...views, loss: part(losses, 1).view() }, { dtype: "f32" }, uniforms);
        if (!dx && !dweight) return;
        gpu().launch(
          crossEntropyGradient,
          { ...views, scale: scale.view() },
          { dtype: "f32", perRow: false },
          uniforms,
        );
        if (dx) launchMatmul("NN", logits, weight, part(dx, D), { batch: 1, m: n, n: D, k: V });
        if (dweight) launchMatmul("TN", logits, xPart, dweight, { batch: 1, m: V, n: D, k: n }, { accumulate: true });
      });
    }
    return { y: mul(sum(losses), scale), saved: { dx, dweight } };
  },
  gradient(dy, { dx, dweight }, { into }) {
    const target = into(1);
    const scaled = dweight ? mul(dweight, dy) : null;
    if (target && scaled) updateInPlace("old + a", target, [scaled]);
    return [dx ? mul(dx, dy) : null, target ? null : scaled, null];
  },
});
