import { op } from "../autograd/op.ts";
import { ShapeError } from "../device/errors.ts";
import { promote } from "../tensor/dtype.ts";
import {
  axisOf,
  broadcastStrides,
  contiguous,
  type Dims,
  inferShape,
  sameShape,
  showShape,
  sizeOf,
} from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { copyStrided, fill } from "./elementwise.ts";
import { cast, where } from "./pointwise.ts";
import { sumTo } from "./reduce.ts";

/** The same elements under another shape; one -1 is worked out. Costs nothing: the buffer is shared. */
export const reshape = op("reshape", {
  value: (x: Tensor, shape: Dims) => ({ y: x.alias(inferShape("reshape", shape, x.size)), saved: { shape: x.shape } }),
  gradient: (dy, { shape }) => [reshape(dy, shape)],
  twice: true,
}) as (x: Tensor, shape: Dims) => Tensor;

/** Reorders the axes: axis i of the result is axis `axes[i]` of x. */
export const permute = op("permute", {
  value(x: Tensor, axes: readonly number[]) {
    const order = axes.map((axis) => axisOf("permute", axis, x.shape));
    if (new Set(order).size !== x.rank)
      throw new ShapeError(`permute: axes ${showShape(axes)} do not name each of ${x.rank} axes once`);
    const own = contiguous(x.shape);
    const shape = order.map((axis) => x.shape[axis]);
    const y = Tensor.empty(shape, x.dtype, "permute");
    copyStrided(x, { strides: order.map((axis) => own[axis]) }, y, { strides: contiguous(shape) }, shape);
    return { y, saved: { inverse: order.map((_, i) => order.indexOf(i)) } };
  },
  gradient: (dy, { inverse }) => [permute(dy, inverse)],
  twice: true,
}) as (x: Tensor, axes: readonly number[]) => Tensor;

/** Swaps two axes, the last two by default. */
export function transpose(x: Tensor, a = -2, b = -1): Tensor {
  const axes = x.shape.map((_, i) => i);
  const [i, j] = [axisOf("transpose", a, x.shape), axisOf("transpose", b, x.shape)];
  [axes[i], axes[j]] = [j, i];
  return permute(x, axes);
}

/** Stretches axes of 1 to `shape`, in a buffer of its own; -1 keeps an axis. */
export const expand = op("expand", {
  value(x: Tensor, target: Dims) {
    const lead = target.length - x.rank;
    const shape = target.map((d, i) => (d === -1 ? x.shape[i - lead] : d));
    const fits = lead >= 0 && x.shape.every((d, i) => d === shape[i + lead] || d === 1);
    if (!fits) throw new ShapeError(`expand: ${showShape(x.shape)} does not stretch to ${showShape(target)}`);
    if (sameShape(shape, x.shape)) return { y: x.alias(), saved: { shape: x.shape } };
    const y = Tensor.empty(shape, x.dtype, "expand");
    copyStrided(x, { strides: broadcastStrides(x.shape, shape) }, y, { strides: contiguous(shape) }, shape);
    return { y, saved: { shape: x.shape } };
  },
  gradient: (dy, { shape }) => [sumTo(dy, shape)],
  twice: true,
}) as (x: Tensor, shape: Dims) => Tensor;

/** Elements `start` to `end` (exclusive, negative from the end) along one axis. */
export function slice(x: Tensor, axis: number, start: number, end: number = Number.MAX_SAFE_INTEGER): Tensor {
  const at = axisOf("slice", axis, x.shape);
  const size = x.shape[at];
  const clip = (i: number) => Math.min(Math.max(i < 0 ? i + size : i, 0), size);
  return sliceOp(x, at, clip(start), Math.max(clip(end) - clip(start), 0));
}

const sliceOp = op("slice", {
  value(x: Tensor, axis: number, start: number, length: number) {
    const shape = x.shape.map((d, i) => (i === axis ? length : d));
    const own = contiguous(x.shape);
    const y = Tensor.empty(shape, x.dtype, "slice");
    copyStrided(x, { strides: own, start: start * own[axis] }, y, { strides: contiguous(shape) }, shape);
    return { y, saved: { axis, start, shape: x.shape } };
  },
  gradient: (dy, { axis, start, shape }) => [placed(dy, axis, start, shape)],
  twice: true,
}) as (x: Tensor, axis: number, start: number, length: number) => Tensor;

/** Zeros of `shape` with x set in from `start` along one axis: the gradient of slice. */
const placed = op("placed", {
  value(x: Tensor, axis: number, start: number, shape: Dims) {
    const y = fill(Tensor.empty(shape, x.dtype, "placed"), 0);
    const strides = contiguous(shape);
    copyStrided(x, { strides: contiguous(x.shape) }, y, { strides, start: start * strides[axis] }, x.shape);
    return { y, saved: { axis, start, length: x.shape[axis] } };
  },
  gradient: (dy, { axis, start, length }) => [sliceOp(dy, axis, start, length)],
  twice: true,
}) as (x: Tensor, axis: number, start: number, shape: Dims) => Tensor;

/** Joins tensors along an existing axis; their other axes must agree. */
export const concat = op("concat", {
  value(xs: readonly Tensor[], axis: number) {
    if (xs.length === 0) throw new ShapeError("concat: the list is empty");
    const at = axisOf("concat", axis, xs[0].shape);
    for (const x of xs) {
      const agrees = x.rank === xs[0].rank && x.shape.every((d, i) => i === at || d === xs[0].shape[i]);
      if (!agrees)
        throw new ShapeError(`concat: ${xs.map((t) => showShape(t.shape)).join(" and ")} differ beside axis ${axis}`);
    }
    const lengths = xs.map((x) => x.shape[at]);
    const shape = xs[0].shape.map((d, i) => (i === at ? lengths.reduce((a, b) => a + b) : d));
    const strides = contiguous(shape);
    const y = Tensor.empty(shape, xs.map((x) => x.dtype).reduce(promote), "concat");
    let start = 0;
    xs.forEach((x, i) => {
      copyStrided(x, { strides: contiguous(x.shape) }, y, { strides, start: start * strides[at] }, x.shape);
      start += lengths[i];
    });
    return { y, saved: { at, lengths, dtypes: xs.map((x) => x.dtype) } };
  },
  gradient(dy, { at, lengths, dtypes }) {
    let start = 0;
    return lengths.map((length, i) => {
      start += length;
      return cast(sliceOp(dy, at, start - length, length), dtypes[i]);
    });
  },
  twice: true,
}) as (xs: readonly Tensor[], axis: number) => Tensor;

/**
 * torch.block_diag: matrices [rᵢ, cᵢ] down the diagonal of zeros [Σ rᵢ, Σ cᵢ]. One of no columns leaves rows of zeros.
 * @throws ShapeError where one is no matrix
 */
export const blockDiag = op("blockDiag", {
  value(xs: readonly Tensor[]) {
    const wrong = xs.find((x) => x.rank !== 2);
    if (wrong) throw new ShapeError(`blockDiag: ${showShape(wrong.shape)} is no matrix`);
    const [rows, columns] = [0, 1].map((axis) => xs.reduce((all, x) => all + x.shape[axis], 0));
    const y = fill(Tensor.empty([rows, columns], xs.map((x) => x.dtype).reduce(promote), "blockDiag"), 0);
    let start = 0;
    const blocks = xs.map(({ shape, dtype }) => {
      const block = { shape, dtype, start };
      start += shape[0] * columns + shape[1];
      return block;
    });
    for (const [i, x] of xs.entries())
      copyStrided(x, { strides: contiguous(x.shape) }, y, { strides: [columns, 1], start: blocks[i].start }, x.shape);
    return { y, saved: { blocks, columns } };
  },
  gradient: (dy, { blocks, columns }, { needs }) =>
    blocks.map(({ shape, dtype, start }, i) => {
      if (!needs(i)) return null;
      const dx = Tensor.empty(shape, dtype, "blockDiag.dx");
      copyStrided(dy, { strides: [columns, 1], start }, dx, { strides: contiguous(shape) }, shape);
      return dx;
    }),
}) as (xs: readonly Tensor[]) => Tensor;

/** Joins tensors of one shape along a new axis. */
export function stack(xs: readonly Tensor[], axis = 0): Tensor {
  if (xs.length === 0) throw new ShapeError("stack: the list is empty");
  const at = axis < 0 ? axis + xs[0].rank + 1 : axis;
  const each = [...xs[0].shape.slice(0, at), 1, ...xs[0].shape.slice(at)];
  return concat(
    xs.map((x) => reshape(x, each)),
    at,
  );
}

/** Cuts an axis into pieces of `size` (the last may be shorter), or of the sizes given. */
export function split(x: Tensor, size: number | readonly number[], axis = 0): Tensor[] {
  const at = axisOf("split", axis, x.shape);
  const whole = x.shape[at];
  const even = (n: number) => Array.from({ length: Math.ceil(whole / n) }, (_, i) => Math.min(n, whole - i * n));
  const sizes = typeof size === "number" ? even(size) : size;
  const total = sizes.reduce((a, b) => a + b, 0);
  if (total !== whole)
    throw new ShapeError(
      `split: sizes ${showShape(sizes)} add up to ${total}, expected ${whole} (axis ${axis} of ${showShape(x.shape)})`,
    );
  let start = 0;
  return sizes.map((length) => {
    start += length;
    return sliceOp(x, at, start - length, length);
  });
}

export function unsqueeze(x: Tensor, axis: number): Tensor {
  const at = axis < 0 ? axis + x.rank + 1 : axis;
  if (!Number.isInteger(at) || at < 0 || at > x.rank)
    throw new ShapeError(
      `unsqueeze: axis ${axis} is no place in ${showShape(x.shape)}, which takes ${-x.rank - 1} to ${x.rank}`,
    );
  return reshape(x, [...x.shape.slice(0, at), 1, ...x.shape.slice(at)]);
}

export function squeeze(x: Tensor, axis: number): Tensor {
  const at = axisOf("squeeze", axis, x.shape);
  if (x.shape[at] !== 1) throw new ShapeError(`squeeze: axis ${axis} of ${showShape(x.shape)} is not 1`);
  return reshape(
    x,
    x.shape.filter((_, i) => i !== at),
  );
}

/** Zeroes what lies above (tril) the `diagonal` of the last two axes. */
export function tril(x: Tensor, diagonal = 0): Tensor {
  return where(
    triangle(x.shape, (row, column) => column <= row + diagonal),
    x,
    0,
  );
}

/** Zeroes what lies below the `diagonal` of the last two axes. */
export function triu(x: Tensor, diagonal = 0): Tensor {
  return where(
    triangle(x.shape, (row, column) => column >= row + diagonal),
    x,
    0,
  );
}

function triangle(shape: Dims, keep: (row: number, column: number) => boolean): Tensor {
  if (shape.length < 2) throw new ShapeError(`tril/triu: ${showShape(shape)} has no two axes`);
  const [rows, columns] = shape.slice(-2);
  const mask = Float32Array.from({ length: sizeOf([rows, columns]) }, (_, i) =>
    Number(keep(Math.floor(i / columns), i % columns)),
  );
  return Tensor.from(mask, { shape: [rows, columns] });
}
