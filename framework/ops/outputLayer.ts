import { crossEntropy } from "../../kernels/crossEntropy.ts";
import { crossEntropyGradient } from "../../kernels/crossEntropyGradient.ts";
import { isRecording, nodeOf } from "../autograd/graph.ts";
import { MicroMindError, ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import { showShape } from "../tensor/shape.ts";
import { ALIGN, Tensor } from "../tensor/tensor.ts";
import { expectFloat } from "./elementwise.ts";
import { readAs } from "./linear.ts";
import { launchMatmul } from "./matmul.ts";
import { lossRows } from "./softmax.ts";

/** Elements of logits that exist at a time, at most: a batch of little more is two pieces all the same. */
const CHUNK = 1 << 24;

/** logits = x · weightᵀ: x [N, D], f32 or f16, weight [V, D], labels i32 [N]. */
export interface OutputLayer {
  x: Tensor;
  weight: Tensor;
  labels: Tensor;
  /** The label of rows that do not count. */
  ignore: number;
}

/** A piece of rows while its logits exist. */
export interface Piece {
  /** Writes −log softmax(logits)[label], 0 where the label is ignored, to the piece's rows of `losses` [N], and to `lse` for the gradient. */
  loss(losses: Tensor): void;
  /**
   * Turns the logits into share · (softmax − onehot), and that into the piece's rows of `dx` [N, D] and its part of `dweight` f32 [V, D].
   * @param share one f32, or one for each of the N rows
   * @param add   `dweight` holds something from before the first piece, to be added to
   */
  gradient(share: Tensor, into: { dx?: Tensor; dweight?: Tensor; add?: boolean }): void;
}

/**
 * Checks what a loss of an output layer is given.
 * @returns which of x and weight want a gradient
 * @throws ShapeError, DTypeError; MicroMindError where gradients would be f16 and there is no scale for them
 */
export function expectOutputLayer(
  name: string,
  { x, weight, labels }: OutputLayer,
  gradientScale: Tensor | undefined,
): { x: boolean; weight: boolean } {
  if (x.rank !== 2 || weight.rank !== 2 || x.shape[1] !== weight.shape[1]) {
    throw new ShapeError(
      `${name}: x is ${showShape(x.shape)} and weight ${showShape(weight.shape)}, expected [N, D] and [V, D]`,
    );
  }
  expectFloat(name, x);
  lossRows(name, x.shape[0], labels, x.shape);
  const wants = (t: Tensor) => isRecording() && nodeOf(t) !== undefined;
  const wanted = { x: wants(x), weight: wants(weight) };
  if (x.dtype === "f16" && (wanted.x || wanted.weight) && !gradientScale)
    throw new MicroMindError(
      `${name}: x is f16 and its gradient is wanted, but no gradientScale is given; small gradients would be lost. Give the optimizer's: { gradientScale: optimizer.gradientScale }`,
    );
  return wanted;
}

/**
 * Goes through an output layer by pieces of rows, so that the logits of a batch never exist whole.
 * @param lse f32 [N], the logsumexp of each row: `Piece.loss` writes it, `Piece.gradient` reads it
 */
export function byPieces({ x, weight, labels, ignore }: OutputLayer, lse: Tensor, use: (piece: Piece) => void): void {
  const [rows, D] = x.shape;
  const V = weight.shape[0];
  const read = readAs(weight, x.dtype);
  const halved = x.dtype === "f16";
  const step = Math.max(1, Math.min(Math.floor(CHUNK / V / ALIGN), Math.ceil(rows / 2 / ALIGN))) * ALIGN;
  for (let start = 0; start < rows; start += step) {
    scope(() => {
      const n = Math.min(step, rows - start);
      const part = (t: Tensor) => t.window((start * t.size) / rows, t.rank === 2 ? [n, t.shape[1]] : [n]);
      const logits = Tensor.empty([n, V], "f32", "logits");
      launchMatmul("NT", part(x), read, logits, { batch: 1, m: n, n: V, k: D });
      const views = { x: logits.view(), label: part(labels.alias([rows])).view(), lse: part(lse).view() };
      const uniforms = { rows: n, columns: V, ignore };
      use({
        loss: (losses) =>
          gpu().launch(crossEntropy, { ...views, loss: part(losses).view() }, { dtype: "f32" }, uniforms),
        gradient(share, { dx, dweight, add }) {
          const perRow = share.size > 1;
          const slopes = halved ? Tensor.empty([n, V], "f16", "dlogits") : logits;
          const scale = (perRow ? part(share) : share).view();
          gpu().launch(
            crossEntropyGradient,
            { ...views, scale, ...(halved ? { half: slopes.view() } : {}) },
            { dtype: "f32", perRow, halved },
            uniforms,
          );
          if (dx) launchMatmul("NN", slopes, read, part(dx), { batch: 1, m: n, n: D, k: V });
          const more = { accumulate: add || start > 0 };
          if (dweight) launchMatmul("TN", slopes, part(x), dweight, { batch: 1, m: V, n: D, k: n }, more);
        },
      });
    });
  }
}
