import { dropout } from "../ops/activation.ts";
import { rand } from "../ops/create.ts";
import { linear, packedLinear } from "../ops/linear.ts";
import { blockDiag } from "../ops/shape.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { parameter } from "./module.ts";

export interface LowRankOptions {
  rank: number;
  /** The product comes scaled by alpha / rank. */
  alpha: number;
  /** Share of the input that is dropped in training, on its way to the low-rank product only. */
  dropout?: number;
}

/**
 * What LoRA adds to a linear layer's x · Wᵀ: (alpha / rank) · dropout(x) · Aᵀ · Bᵀ, A [rank, in] and B [out, rank]. A begins
 * random, as PEFT's does, and B zero, so that the layer is unchanged at first. Hu et al. 2021, arXiv:2106.09685
 */
export class LowRank {
  readonly A: Tensor;
  readonly B: Tensor;
  readonly scale: number;
  readonly dropout: number;

  constructor(weight: Tensor, { rank, alpha, dropout = 0 }: LowRankOptions) {
    const [outFeatures, inFeatures] = weight.shape;
    const bound = 1 / Math.sqrt(inFeatures);
    this.A = parameter(
      scope(() =>
        rand([rank, inFeatures])
          .mul(2 * bound)
          .sub(bound),
      ),
    ); // Kaiming's for a = √5
    this.B = parameter(Tensor.from(new Float32Array(outFeatures * rank), { shape: [outFeatures, rank] }));
    this.scale = alpha / rank;
    this.dropout = dropout;
  }

  /** scale · B · A: what the weight would change by, [out, in]. */
  delta(): Tensor {
    return this.B.matmul(this.A).mul(this.scale);
  }

  dispose(): void {
    for (const tensor of [this.A, this.B]) {
      tensor.grad?.dispose();
      tensor.dispose();
    }
  }
}

/** A linear layer that may have an adapter. */
interface Adapted {
  readonly weight: Tensor;
  readonly adapter: LowRank | undefined;
  readonly training: boolean;
}

/**
 * Adds what the adapters of layers side by side give for x: the products with all A at once, then with all B at once.
 * @param y [..., out₁ + out₂ + …], what the weights gave
 * @param x [..., in]; what is dropped of it is dropped for all layers
 */
export function addLowRank(y: Tensor, x: Tensor, layers: readonly Adapted[]): Tensor {
  const pairs = layers.flatMap(({ adapter }) => adapter ?? []);
  if (pairs.length === 0) return y;
  const [{ scale, dropout: p }] = pairs;
  const h = packedLinear(
    dropout(x, p, layers[0].training),
    pairs.map(({ A }) => A),
  );
  const blocks = layers.map(({ adapter, weight }) => adapter?.B ?? Tensor.empty([weight.shape[0], 0]));
  const B = blocks.length === 1 ? blocks[0] : blockDiag(blocks);
  return linear(scale === 1 ? h : h.mul(scale), B, undefined, y);
}
