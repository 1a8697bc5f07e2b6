import { op } from "../autograd/op.ts";
import { Tensor } from "../tensor/tensor.ts";
import { fill } from "./elementwise.ts";
import { byPieces, expectOutputLayer, type OutputLayer } from "./outputLayer.ts";
import { mul, neg } from "./pointwise.ts";

export interface LinearLogProbsOptions {
  /** Labels that do not count; −100 by default. */
  ignoreIndex?: number;
  /** One f32 on the device that all gradients come multiplied by from here on, so that small ones survive in f16. */
  gradientScale?: Tensor;
}

/**
 * log softmax(x · weightᵀ)[label] of each row, by pieces of rows, so that the logits of a batch never exist whole. The gradient
 * differs from row to row and is known only at the end, so that it makes the logits once more.
 * @param x      [N, D], f32 or f16; the logits and all sums are f32
 * @param weight [V, D]
 * @param labels i32 [N]; `ignoreIndex` (−100) where a row does not count, which gives 0; one outside [0, V) gives NaN
 * @returns f32 [N]
 * @throws ShapeError, DTypeError where they do not fit; MicroMindError where x is f16, wants a gradient and has no `gradientScale`
 */
export function linearLogProbs(
  x: Tensor,
  weight: Tensor,
  labels: Tensor,
  { ignoreIndex = -100, gradientScale }: LinearLogProbsOptions = {},
): Tensor {
  const layer = { x, weight, labels, ignore: ignoreIndex };
  expectOutputLayer("linearLogProbs", layer, gradientScale);
  return fused(layer, gradientScale);
}

const fused = op("linearLogProbs", {
  value(layer: OutputLayer, gradientScale: Tensor | undefined) {
    const { x, weight, labels, ignore } = layer;
    const losses = Tensor.empty([x.shape[0]], "f32", "linearLogProbs.losses");
    const lse = Tensor.empty([x.shape[0]], "f32", "linearLogProbs.lse");
    byPieces(layer, lse, (piece) => piece.loss(losses));
    return { y: neg(losses), saved: { x, weight, labels, ignore, gradientScale, lse } };
  },
  gradient(dy, { gradientScale, lse, ...layer }, { needs, into }) {
    const { x, weight } = layer;
    const share = neg(gradientScale ? mul(dy, gradientScale) : dy);
    const target = into(1);
    const dx = needs(0) ? Tensor.empty(x.shape, x.dtype, "linearLogProbs.dx") : undefined;
    const made = needs(1) && !target ? Tensor.empty(weight.shape, "f32", "linearLogProbs.dweight") : undefined;
    byPieces(layer, lse, (piece) => piece.gradient(share, { dx, dweight: target ?? made, add: target !== undefined }));
    if (made && x.shape[0] === 0) fill(made, 0);
    return [dx ?? null, made ?? null, null, null];
  },
});
