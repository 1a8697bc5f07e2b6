import { type BackwardOptions, backward } from "../autograd/backward.ts";
import type { DType } from "../tensor/dtype.ts";
import { Tensor } from "../tensor/tensor.ts";
import * as gathers from "./gather.ts";
import { matmul } from "./matmul.ts";
import * as pointwise from "./pointwise.ts";
import * as reduces from "./reduce.ts";
import * as shapes from "./shape.ts";
import { logSoftmax, softmax } from "./softmax.ts";

type Operand = Tensor | number;
type Axes = number | readonly number[];
interface Keep {
  keepdim?: boolean;
}

/** Ops whose first argument is a tensor are its methods too: `x.add(y)` is `add(x, y)`. Their docstrings stand at the functions. */
interface Methods {
  add(other: Operand): Tensor;
  sub(other: Operand): Tensor;
  mul(other: Operand): Tensor;
  div(other: Operand): Tensor;
  minimum(other: Operand): Tensor;
  maximum(other: Operand): Tensor;
  pow(p: Operand): Tensor;
  eq(other: Operand): Tensor;
  ne(other: Operand): Tensor;
  lt(other: Operand): Tensor;
  le(other: Operand): Tensor;
  gt(other: Operand): Tensor;
  ge(other: Operand): Tensor;
  neg(): Tensor;
  exp(): Tensor;
  log(): Tensor;
  sqrt(): Tensor;
  rsqrt(): Tensor;
  sin(): Tensor;
  cos(): Tensor;
  tanh(): Tensor;
  sigmoid(): Tensor;
  logSigmoid(): Tensor;
  silu(): Tensor;
  relu(): Tensor;
  gelu(options?: { approximate?: "none" | "tanh" }): Tensor;
  abs(): Tensor;
  sign(): Tensor;
  erf(): Tensor;
  clamp(range: { min?: number; max?: number }): Tensor;
  cast(dtype: DType): Tensor;
  /** A copy with a buffer of its own. */
  clone(): Tensor;
  sum(axes?: Axes, options?: Keep): Tensor;
  mean(axes?: Axes, options?: Keep): Tensor;
  max(axes?: Axes, options?: Keep): Tensor;
  min(axes?: Axes, options?: Keep): Tensor;
  argmax(axis?: number, options?: Keep): Tensor;
  logsumexp(axes?: Axes, options?: Keep): Tensor;
  var(axes?: Axes, options?: Keep & { correction?: number }): Tensor;
  cumsum(axis: number): Tensor;
  softmax(axis?: number): Tensor;
  logSoftmax(axis?: number): Tensor;
  matmul(other: Tensor): Tensor;
  permute(axes: readonly number[]): Tensor;
  transpose(a?: number, b?: number): Tensor;
  expand(shape: readonly number[]): Tensor;
  slice(axis: number, start: number, end?: number): Tensor;
  split(size: number | readonly number[], axis?: number): Tensor[];
  unsqueeze(axis: number): Tensor;
  squeeze(axis: number): Tensor;
  tril(diagonal?: number): Tensor;
  triu(diagonal?: number): Tensor;
  gather(axis: number, index: Tensor): Tensor;
  scatterAdd(axis: number, index: Tensor, source: Tensor): Tensor;
  indexSelect(axis: number, index: Tensor): Tensor;
  select(axis: number, index: number): Tensor;
}

const { add, sub, mul, div, minimum, maximum, pow, eq, ne, lt, le, gt, ge, clamp, cast, clone } = pointwise;
const { neg, exp, log, sqrt, rsqrt, sin, cos, tanh, sigmoid, logSigmoid, silu, relu, gelu, abs, sign, erf } = pointwise;
const { sum, mean, max, min, argmax, logsumexp, variance, cumsum } = reduces;
const { permute, transpose, expand, slice, split, unsqueeze, squeeze, tril, triu } = shapes;
const { gather, scatterAdd, indexSelect, select } = gathers;

// biome-ignore format: a table
const functions: Record<keyof Methods, (x: Tensor, ...rest: never[]) => unknown> = {
  add, sub, mul, div, minimum, maximum, pow, eq, ne, lt, le, gt, ge, clamp, cast, clone,
  neg, exp, log, sqrt, rsqrt, sin, cos, tanh, sigmoid, logSigmoid, silu, relu, gelu, abs, sign, erf,
  sum, mean, max, min, argmax, logsumexp, var: variance, cumsum, softmax, logSoftmax, matmul,
  permute, transpose, expand, slice, split, unsqueeze, squeeze, tril, triu, gather, scatterAdd, indexSelect, select,
};

declare module "../tensor/tensor.ts" {
  interface Tensor extends Methods {
    /** The same elements under another shape; one -1 is worked out. Takes a list or plain numbers. */
    reshape(...shape: number[] | [readonly number[]]): Tensor;
    /** The same elements outside the graph. */
    detach(): Tensor;
    /** Gradients of every leaf below, into their `.grad`; see `backward`. */
    backward(options?: BackwardOptions): void;
  }
}

for (const [name, fn] of Object.entries(functions)) {
  Object.defineProperty(Tensor.prototype, name, {
    configurable: true,
    value(this: Tensor, ...rest: never[]) {
      return fn(this, ...rest);
    },
  });
}

Tensor.prototype.reshape = function (...shape) {
  return shapes.reshape(this, (Array.isArray(shape[0]) ? shape[0] : shape) as number[]);
};
Tensor.prototype.detach = function () {
  return this.alias();
};
Tensor.prototype.backward = function (options) {
  backward(this, options);
};
