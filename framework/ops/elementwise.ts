import { pointwise } from "../../kernels/pointwise.ts";
import { DTypeError } from "../device/errors.ts";
import type { Uniforms } from "../device/kernel.ts";
import { type DType, isFloat, promote } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import {
  broadcastShapes,
  broadcastStrides,
  collapse,
  contiguous,
  type Dims,
  sameShape,
  sizeOf,
} from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";

const operandNames = ["a", "b", "c"] as const;
const MAX_RANK = 6;

/** How an operand of a strided launch is walked: elements between neighbours along each axis, and the first element. */
export interface Walk {
  strides: readonly number[];
  start?: number;
}

/**
 * y[...] = expr of the operands, each broadcast to the common shape.
 * @param expr WGSL of one element of `a`, `b`, `c` and the scalars `u.s`, `u.t`
 */
export function elementwise(
  name: string,
  expr: string,
  operands: readonly Tensor[],
  options: { dtype?: DType; s?: number; t?: number } = {},
): Tensor {
  const shape = broadcastShapes(name, ...operands.map((o) => o.shape));
  const dtype = options.dtype ?? operands.map((o) => o.dtype).reduce(promote);
  const y = Tensor.empty(shape, dtype, name);
  if (operands.every((o) => o.size === 1 || sameShape(o.shape, shape))) launchFlat(expr, operands, y, false, options);
  else
    launchStrided(
      expr,
      operands,
      y,
      shape,
      operands.map((o) => ({ strides: broadcastStrides(o.shape, shape) })),
      { strides: contiguous(shape) },
      false,
      options,
    );
  return y;
}

/** y = expr in place, of `old` and operands of y's own shape or of one element. */
export function updateInPlace(
  expr: string,
  y: Tensor,
  operands: readonly Tensor[],
  scalars: { s?: number; t?: number } = {},
): void {
  launchFlat(expr, operands, y, true, scalars);
}

/** Fills a tensor with one value. */
export function fill(y: Tensor, value: number): Tensor {
  launchFlat(y.dtype === "f32" || y.dtype === "f16" ? "u.s" : `${y.dtype}(u.s)`, [], y, false, { s: value });
  return y;
}

/** Copies `x`, walked by `from`, into `y`, walked by `to`, over `shape`; `add` adds to what y holds. */
export function copyStrided(x: Tensor, from: Walk, y: Tensor, to: Walk, shape: Dims, add = false): void {
  launchStrided(add ? "old + a" : "a", [x], y, shape, [from], to, add, {});
}

/** Operands of one element, where y has more, are marked as such in flat launches. */
function typesOf(operands: readonly Tensor[], y: Tensor, flat: boolean): string {
  const types = operands.map((o) => o.dtype + (flat && o.size === 1 && y.size !== 1 ? "*" : ""));
  return `${types.join(",")}>${y.dtype}`;
}

function launchFlat(
  expr: string,
  operands: readonly Tensor[],
  y: Tensor,
  update: boolean,
  scalars: { s?: number; t?: number },
): void {
  const n = y.size;
  if (n === 0) return;
  const views = { ...Object.fromEntries(operands.map((o, i) => [operandNames[i], o.view()])), y: y.view() };
  const shape = { expr, types: typesOf(operands, y, true), rank: 0, vec4: n % 4 === 0, update };
  gpu().launch(pointwise, views, shape, { ...blank, n, s: scalars.s ?? 0, t: scalars.t ?? 0 });
}

function launchStrided(
  expr: string,
  operands: readonly Tensor[],
  y: Tensor,
  shape: Dims,
  walks: readonly Walk[],
  to: Walk,
  update: boolean,
  scalars: { s?: number; t?: number },
): void {
  const n = sizeOf(shape);
  if (n === 0) return;
  const all = [...walks, to];
  const merged = collapse(
    shape,
    all.map((w) => [...w.strides]),
  );
  const rank = merged.shape.length;
  if (rank > MAX_RANK) throw new DTypeError(`${y.name}: ${rank} axes that do not merge, expected ${MAX_RANK} at most`);
  const uniforms: Uniforms = { ...blank, n, s: scalars.s ?? 0, t: scalars.t ?? 0 };
  merged.shape.forEach((dim, axis) => {
    uniforms[`d${axis}`] = dim;
  });
  const names = [...walks.map((_, i) => operandNames[i] as string), "y"];
  names.forEach((name, operand) => {
    uniforms[`${name}At`] = all[operand].start ?? 0;
    merged.strides[operand].forEach((stride, axis) => {
      uniforms[`${name}${axis}`] = stride;
    });
  });
  const views = { ...Object.fromEntries(operands.map((o, i) => [operandNames[i], o.view()])), y: y.view() };
  gpu().launch(pointwise, views, { expr, types: typesOf(operands, y, false), rank, vec4: false, update }, uniforms);
}

const blank: Uniforms = Object.fromEntries(Object.keys(pointwise.uniforms ?? {}).map((name) => [name, 0]));

/** @throws TypeError unless it is a tensor; DTypeError unless that holds floats */
export function expectFloat(op: string, x: Tensor, name = "x"): void {
  if (!(x instanceof Tensor)) {
    const given = Array.isArray(x) ? "a list" : x === null ? "null" : typeof x;
    throw new TypeError(`${op}: ${name} is ${given}, expected a tensor; tensor(…) makes one of numbers and lists`);
  }
  if (!isFloat(x.dtype)) throw new DTypeError(`${op}: ${name} is ${x.dtype}, expected f32 or f16; cast it first`);
}
