import { rope as ropeKernel } from "../../kernels/rope.ts";
import { op } from "../autograd/op.ts";
import { ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { type Dims, showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { expectFloat } from "./elementwise.ts";

export interface RopeOptions {
  /** i32 [B, T]: each token's position; otherwise token t stands at `offset + t`. */
  positions?: Tensor;
  offset?: number;
}

/**
 * Rotary position embedding, rotating halves.
 * @param x     [B, T, H, D], f32 or f16
 * @param table f32 [positions, D / 2, 2]: cos and sin (see `ropeTable`)
 * @throws ShapeError where the table is for another D or too short
 * Su et al. 2021, arXiv:2104.09864
 */
export function rope(x: Tensor, table: Tensor, options: RopeOptions = {}): Tensor {
  expectFloat("rope", x);
  const { positions, offset = 0 } = options;
  checkPositions("rope", x.shape, table, { positions, offset });
  return turn(x, table, positions, offset, 1);
}

/** @throws ShapeError unless x is [B, T, H, D] and table and positions serve it */
export function checkPositions(name: string, x: Dims, table: Tensor, { positions, offset = 0 }: RopeOptions): void {
  const [, length, , headDim] = x;
  if (x.length !== 4 || headDim % 2 || table.dim(1) !== headDim / 2) {
    throw new ShapeError(
      `${name}: x is ${showShape(x)} and the table ${showShape(table.shape)}, expected [B, T, H, D] and [positions, D / 2, 2]`,
    );
  }
  if (!positions && offset + length > table.shape[0]) {
    throw new ShapeError(
      `${name}: position ${offset + length - 1} is past the table's ${table.shape[0]}; raise max_position_embeddings`,
    );
  }
  if (positions && positions.size !== x[0] * length) {
    throw new ShapeError(`${name}: positions are ${showShape(positions.shape)}, expected [${x[0]}, ${length}]`);
  }
}

const turn = op("rope", {
  value(x: Tensor, table: Tensor, positions: Tensor | undefined, offset: number, direction: number) {
    const [batch, length, heads, headDim] = x.shape;
    const y = Tensor.empty(x.shape, x.dtype, "rope");
    const views = {
      x: x.view(),
      table: table.view(),
      y: y.view(),
      ...(positions ? { position: positions.view() } : {}),
    };
    const shape = { headDim, dtype: x.dtype, positions: positions !== undefined };
    gpu().launch(ropeKernel, views, shape, { tokens: batch * length, heads, length, offset, direction });
    return { y, saved: { table, positions, offset, direction } };
  },
  gradient: (dy, { table, positions, offset, direction }) => [
    turn(dy, table, positions, offset, -direction),
    null,
    null,
  ],
  twice: true,
}) as (x: Tensor, table: Tensor, positions: Tensor | undefined, offset: number, direction: number) => Tensor;
