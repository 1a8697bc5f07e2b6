import { gather as gatherKernel } from "../../kernels/gather.ts";
import { scatterAdd as scatterAddKernel } from "../../kernels/scatterAdd.ts";
import { op } from "../autograd/op.ts";
import { DTypeError, ShapeError } from "../device/errors.ts";
import { type DType, isFloat } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import { axisOf, type Dims, sameShape, showShape, sizeOf } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { elementwise, fill } from "./elementwise.ts";
import { readAs } from "./linear.ts";
import { cast } from "./pointwise.ts";
import { reshape } from "./shape.ts";

/** How kernels walk an indexed axis: see `kernels/gather.ts`. */
interface Walk {
  outer: number;
  length: number;
  inner: number;
  count: number;
  so: number;
  sj: number;
  si: number;
}

function expectIndex(op: string, index: Tensor): void {
  if (isFloat(index.dtype)) throw new DTypeError(`${op}: index is ${index.dtype}, expected i32 or u32`);
}

function runGather(name: string, x: Tensor, index: Tensor, walk: Walk, shape: Dims): Tensor {
  const y = Tensor.empty(shape, x.dtype, name);
  gpu().launch(
    gatherKernel,
    { x: x.view(), index: index.view(), y: y.view() },
    { dtype: x.dtype, index: index.dtype, fours: walk.inner % 4 === 0 && walk.si === 0 },
    { ...walk },
  );
  return y;
}

/** Adds dy into `target`, or into zeros of `shape`. Sums are f32. */
function runScatter(dy: Tensor, index: Tensor, walk: Walk, target: Tensor): Tensor {
  gpu().launch(
    scatterAddKernel,
    { x: dy.view(), index: index.view(), y: target.view() },
    { dtype: dy.dtype, index: index.dtype },
    { ...walk },
  );
  return target;
}

const gatherOp = op("gather", {
  value: (x: Tensor, index: Tensor, walk: Walk, shape: Dims, dtype: DType = x.dtype) => ({
    y: runGather("gather", readAs(x, dtype), index, walk, shape),
    saved: { index, walk, shape: x.shape, dtype: x.dtype },
  }),
  gradient(dy, { index, walk, shape, dtype }, { into }) {
    const target = into(0);
    if (!target) return [cast(scatterOp(dy, index, walk, shape), dtype), null];
    runScatter(dy, index, walk, target);
    return [null, null];
  },
  twice: true,
}) as (x: Tensor, index: Tensor, walk: Walk, shape: Dims, dtype?: DType) => Tensor;

const scatterOp = op("scatterAdd", {
  value: (x: Tensor, index: Tensor, walk: Walk, shape: Dims) => ({
    y: runScatter(x, index, walk, fill(Tensor.empty(shape, "f32", "scatterAdd"), 0)),
    saved: { index, walk, shape: x.shape },
  }),
  gradient: (dy, { index, walk, shape }) => [gatherOp(dy, index, walk, shape), null],
  twice: true,
}) as (x: Tensor, index: Tensor, walk: Walk, shape: Dims) => Tensor;

function alongAxis(shape: Dims, axis: number): { outer: number; length: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), length: shape[axis], inner: sizeOf(shape.slice(axis + 1)) };
}

/** torch.index_select: the slices of one axis that `index` [n] names. An index outside gives NaN. */
export function indexSelect(x: Tensor, axis: number, index: Tensor): Tensor {
  expectIndex("indexSelect", index);
  if (index.rank !== 1) throw new ShapeError(`indexSelect: index is ${showShape(index.shape)}, expected one axis`);
  const at = axisOf("indexSelect", axis, x.shape);
  const shape = x.shape.map((d, i) => (i === at ? index.size : d));
  return gatherOp(x, index, { ...alongAxis(x.shape, at), count: index.size, so: 0, sj: 1, si: 0 }, shape);
}

/** Rows of `weight` [V, D] named by `index` [...]: [..., D], in `dtype` (the weight's own where silent). */
export function embedding(index: Tensor, weight: Tensor, dtype: DType = weight.dtype): Tensor {
  expectIndex("embedding", index);
  if (weight.rank !== 2) throw new ShapeError(`embedding: weight is ${showShape(weight.shape)}, expected [V, D]`);
  const [length, inner] = weight.shape;
  const walk = { outer: 1, length, inner, count: index.size, so: 0, sj: 1, si: 0 };
  return cast(gatherOp(weight, index, walk, [...index.shape, inner], dtype), dtype);
}

function elementWalk(name: string, shape: Dims, axis: number, index: Tensor): Walk {
  expectIndex(name, index);
  const at = axisOf(name, axis, shape);
  const fits = index.rank === shape.length && index.shape.every((d, i) => i === at || d === shape[i]);
  if (!fits)
    throw new ShapeError(
      `${name}: index is ${showShape(index.shape)}, expected ${showShape(shape)} beside axis ${axis}`,
    );
  const { outer, length, inner } = alongAxis(shape, at);
  const count = index.shape[at];
  return { outer, length, inner, count, so: count * inner, sj: inner, si: 1 };
}

/** torch.gather: y[..., j, ...] = x[..., index[..., j, ...], ...] along one axis; the other axes agree. */
export function gather(x: Tensor, axis: number, index: Tensor): Tensor {
  return gatherOp(x, index, elementWalk("gather", x.shape, axis, index), index.shape);
}

/** torch.scatter_add, into a new tensor: x plus `source` added at the places that `index` names along one axis. */
export function scatterAdd(x: Tensor, axis: number, index: Tensor, source: Tensor): Tensor {
  if (!sameShape(source.shape, index.shape))
    throw new ShapeError(
      `scatterAdd: source is ${showShape(source.shape)}, expected ${showShape(index.shape)} as index`,
    );
  return addTo(x, scatterOp(source, index, elementWalk("scatterAdd", x.shape, axis, index), x.shape));
}

const addTo = op("scatterAdd", {
  value: (x: Tensor, scattered: Tensor) => ({
    y: elementwise("scatterAdd", "f32(a) + b", [x, scattered], { dtype: x.dtype }),
    saved: { dtype: x.dtype },
  }),
  gradient: (dy, { dtype }) => [dy, cast(dy, dtype === "f16" ? "f32" : dtype)],
  twice: true,
});

/** The entries of one axis at a single index, that axis dropped: x[:, i, :]. */
export function select(x: Tensor, axis: number, index: number): Tensor {
  const at = axisOf("select", axis, x.shape);
  const i = index < 0 ? index + x.shape[at] : index;
  if (!Number.isInteger(i) || i < 0 || i >= x.shape[at])
    throw new ShapeError(`select: index ${index} is outside axis ${axis} of ${showShape(x.shape)}`);
  const picked = indexSelect(x, at, Tensor.from(Int32Array.of(i)));
  return reshape(
    picked,
    x.shape.filter((_, k) => k !== at),
  );
}
