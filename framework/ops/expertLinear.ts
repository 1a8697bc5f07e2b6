import { matmulLaunch } from "../../kernels/matmul.ts";
import { op } from "../autograd/op.ts";
import { ShapeError } from "../device/errors.ts";
import type { DType } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import { showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { expectFloat } from "./elementwise.ts";
import type { ExpertPlan } from "./experts.ts";
import { readAs } from "./linear.ts";
import { cast } from "./pointwise.ts";
import { concat, slice } from "./shape.ts";

/** Sizes of the product of a tile: rows, features out and in. */
interface Sizes {
  tile: number;
  rows: number;
  n: number;
  k: number;
  experts: number;
}

/**
 * Each row's product with its expert's weights, all experts in one launch: x · weightₑᵀ, several layers of an expert side by side. Weights
 * that lie at equal distances in one buffer (see `adjoin`) are read where they are and their gradients added straight into their places;
 * others are copied together first. The tiles' experts are looked up on the device: Gale et al. 2022 (MegaBlocks), arXiv:2211.15841
 * @param x       [plan.rows, in], f32 or f16
 * @param weights those of the first expert, [outᵢ, in] each, then those of the next
 * @returns       [plan.rows, Σ outᵢ], x's dtype. Rows that fill up whole tiles hold whatever they hold.
 */
export function expertLinear(x: Tensor, weights: readonly Tensor[], plan: ExpertPlan): Tensor {
  expectFloat("expertLinear", x);
  const { experts, rows, tile, tiles, order } = plan;
  const layers = weights.length / experts;
  const fits = (w: Tensor, i: number) =>
    w.rank === 2 && w.shape[1] === x.dim(-1) && w.shape[0] === weights[i % layers].shape[0];
  if (x.rank !== 2 || x.shape[0] !== rows || !Number.isInteger(layers) || !weights.every(fits)) {
    const shapes = weights.slice(0, Math.ceil(layers)).map(({ shape }) => showShape(shape));
    throw new ShapeError(
      `expertLinear: x is ${showShape(x.shape)} and weights ${shapes.join(", ")}, …, expected [${rows}, in] and equally many [out, in] for each of ${experts} experts`,
    );
  }
  const n = weights.slice(0, layers).reduce((all, { shape }) => all + shape[0], 0);
  return product(x, weights, tiles, order?.segments, { tile, rows, n, k: x.dim(-1), experts });
}

const product = op("expertLinear", {
  value(x: Tensor, weights: readonly Tensor[], tiles: Tensor, segments: Tensor | undefined, sizes: Sizes) {
    const { rows, n } = sizes;
    const y = Tensor.empty([rows, n], x.dtype, "expertLinear");
    byTile("NT", x, stacked(weights, x.dtype, sizes), y, tiles, sizes);
    return { y, saved: { x, weights, tiles, segments, sizes } };
  },
  gradient(dy, { x, weights, tiles, segments, sizes }, { needs, into }) {
    if (!segments) throw new ShapeError("expertLinear: rows that stay where they are have no gradient");
    const dx = needs(0) ? Tensor.empty(x.shape, dy.dtype, "expertLinear.dx") : null;
    if (dx) byTile("NN", dy, stacked(weights, dy.dtype, sizes), dx, tiles, sizes);
    if (!weights.some((_, i) => needs(i + 1))) return [dx];
    const targets = weights.flatMap((_, i) => into(i + 1) ?? []);
    const target = targets.length === weights.length ? spaced(targets, sizes) : undefined;
    const { experts, n, k } = sizes;
    const dweight = target ?? { all: Tensor.empty([experts * n, k], "f32", "expertLinear.dweight"), step: n * k };
    bySegment(dy, x, dweight, segments, sizes, target !== undefined);
    if (target) return [dx];
    let row = 0;
    const pieces = weights.map(({ shape, dtype }) => {
      row += shape[0];
      return cast(slice(dweight.all, 0, row - shape[0], row), dtype);
    });
    return [dx, ...pieces];
  },
});

/** All experts' weights in one tensor, and the elements from one expert's to the next's. */
interface Stack {
  all: Tensor;
  step: number;
}

function stacked(weights: readonly Tensor[], dtype: DType, sizes: Sizes): Stack {
  const read = weights.map((weight) => readAs(weight, dtype));
  return spaced(read, sizes) ?? { all: concat(read, 0), step: sizes.n * sizes.k };
}

/** Where the layers of each expert lie one behind the other, and the experts at equal distances. */
function spaced(parts: readonly Tensor[], { experts }: Sizes): Stack | undefined {
  const layers = parts.length / experts;
  const own = Array.from({ length: experts }, (_, e) => Tensor.join(parts.slice(e * layers, (e + 1) * layers)));
  const joined = own.filter((part) => part !== undefined);
  return joined.length === experts ? Tensor.spaced(joined) : undefined;
}

/** y = x · weightᵀ, or x · weight, tile by tile. */
function byTile(layout: "NT" | "NN", x: Tensor, { all, step }: Stack, y: Tensor, tiles: Tensor, sizes: Sizes): void {
  const [n, k] = layout === "NT" ? [sizes.n, sizes.k] : [sizes.k, sizes.n];
  const { tile: m, rows } = sizes;
  const batch = rows / m;
  if (batch * n === 0) return;
  const strides = { strideA: m * k, strideB: step };
  const types = { a: x.dtype, b: all.dtype, c: y.dtype };
  const { kernel, shape, uniforms } = matmulLaunch({ layout, m, n, k, batch, ...strides, ...types, grouped: "tiles" });
  gpu().launch(kernel, { a: x.view(), b: all.view(), matrices: tiles.view(), c: y.view() }, shape, uniforms);
}

/** weight = dyᵀ · x over each expert's rows, or added to what is there. Summed in f32. */
function bySegment(
  dy: Tensor,
  x: Tensor,
  { all, step }: Stack,
  segments: Tensor,
  { rows, n, k, experts }: Sizes,
  accumulate: boolean,
): void {
  if (n * k === 0) return;
  const dims = { m: n, n: k, k: Math.ceil(rows / experts), batch: experts };
  const strides = { strideA: 0, strideB: 0, strideC: step };
  const types = { a: dy.dtype, b: x.dtype, c: all.dtype };
  const call = { layout: "TN", ...dims, ...strides, ...types, accumulate, grouped: "segments" } as const;
  const { kernel, shape, uniforms } = matmulLaunch(call);
  gpu().launch(kernel, { a: dy.view(), b: x.view(), matrices: segments.view(), c: all.view() }, shape, uniforms);
}
