import { op } from "../autograd/op.ts";
import { expectShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { elementwise, fill, updateInPlace } from "./elementwise.ts";
import { byPieces, expectOutputLayer, type OutputLayer } from "./outputLayer.ts";
import { mul } from "./pointwise.ts";
import { sum } from "./reduce.ts";
import { lossScale } from "./softmax.ts";

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
  { ignoreIndex = -100, reduction = "mean", rowWeights, gradientScale }: LinearCrossEntropyOptions = {},
): Tensor {
  const layer = { x, weight, labels, ignore: ignoreIndex };
  const wanted = expectOutputLayer("linearCrossEntropy", layer, gradientScale);
  if (rowWeights) expectShape("linearCrossEntropy", "rowWeights", rowWeights.shape, [x.shape[0]]);
  return fused(layer, { gradientScale, rowWeights }, reduction, wanted);
}

export interface LinearCrossEntropyOptions {
  /** Labels that do not count; −100 by default. */
  ignoreIndex?: number;
  reduction?: "mean" | "sum";
  /** f32 [N]: what each row's loss is multiplied by. The mean stays that over rows that count, whatever their weights. */
  rowWeights?: Tensor;
  /** One f32 on the device that all gradients of this loss come multiplied by, so that small ones survive in f16. */
  gradientScale?: Tensor;
}

const fused = op("linearCrossEntropy", {
  value(
    layer: OutputLayer,
    { gradientScale, rowWeights }: Pick<LinearCrossEntropyOptions, "gradientScale" | "rowWeights">,
    reduction: "mean" | "sum",
    wanted: { x: boolean; weight: boolean },
  ) {
    const { x, weight, labels, ignore } = layer;
    const rows = x.shape[0];
    const losses = Tensor.empty([rows], "f32", "linearCrossEntropy.losses");
    const lse = Tensor.empty([rows], "f32", "linearCrossEntropy.lse");
    const scale = lossScale(labels, ignore, reduction);
    const scaled = gradientScale ? mul(scale, gradientScale) : scale;
    const slope = rowWeights ? mul(rowWeights, scaled) : scaled;
    const dx = wanted.x ? Tensor.empty(x.shape, x.dtype, "linearCrossEntropy.dx") : undefined;
    const dweight = wanted.weight ? Tensor.empty(weight.shape, "f32", "linearCrossEntropy.dweight") : undefined;
    byPieces(layer, lse, (piece) => {
      piece.loss(losses);
      if (dx || dweight) piece.gradient(slope, { dx, dweight });
    });
    if (dweight && rows === 0) fill(dweight, 0);
    return { y: mul(sum(rowWeights ? mul(losses, rowWeights) : losses), scale), saved: { dx, dweight } };
  },
  gradient(dy, { dx, dweight }, { into }) {
    const target = into(1);
    if (target && dweight) updateInPlace("old + a * b", target, [dweight, dy]);
    const scaled = (x: Tensor) => elementwise("linearCrossEntropy.scaled", "a * b", [x, dy], { dtype: x.dtype });
    return [dx ? scaled(dx) : null, dweight && !target ? scaled(dweight) : null, null];
  },
});
