import { type BackwardOptions, backward } from "../autograd/backward.ts";
import { Tensor } from "../tensor/tensor.ts";
import * as gathers from "./gather.ts";
import * as linear from "./matmul.ts";
import * as pointwise from "./pointwise.ts";
import * as reduces from "./reduce.ts";
import * as shapes from "./shape.ts";
import * as softmaxes from "./softmax.ts";

/** Functions of a tensor that are its methods too: `x.add(y)` is `add(x, y)`. */
const methods = {
  ...pick(pointwise, [
    ...([
      "neg",
      "exp",
      "log",
      "sqrt",
      "rsqrt",
      "sin",
      "cos",
      "tanh",
      "sigmoid",
      "logSigmoid",
      "silu",
      "gelu",
      "relu",
      "abs",
      "sign",
      "erf",
    ] as const),
    ...(["pow", "clamp", "cast", "eq", "ne", "lt", "le", "gt", "ge"] as const),
  ]),
  ...pick(reduces, ["sum", "mean", "max", "min", "argmax", "logsumexp", "cumsum"]),
  ...pick(shapes, ["permute", "transpose", "expand", "slice", "split", "unsqueeze", "squeeze", "tril", "triu"]),
  ...pick(softmaxes, ["softmax", "logSoftmax"]),
  ...pick(gathers, ["gather", "scatterAdd", "indexSelect", "select"]),
  matmul: linear.matmul,
  var: reduces.variance,
};

function pick<T extends object, K extends keyof T>(from: T, names: readonly K[]): Pick<T, K> {
  return Object.fromEntries(names.map((name) => [name, from[name]])) as Pick<T, K>;
}

type Method<F> = F extends (x: Tensor, ...rest: infer A) => infer R ? (...rest: A) => R : never;
type Methods = { [K in keyof typeof methods]: Method<(typeof methods)[K]> };

/** Two-operand functions take a number on either side; as methods the tensor stands first. */
interface Arithmetic {
  add(other: pointwise.Operand): Tensor;
  sub(other: pointwise.Operand): Tensor;
  mul(other: pointwise.Operand): Tensor;
  div(other: pointwise.Operand): Tensor;
  minimum(other: pointwise.Operand): Tensor;
  maximum(other: pointwise.Operand): Tensor;
}

declare module "../tensor/tensor.ts" {
  interface Tensor extends Methods, Arithmetic {
    /** The same elements under another shape; one -1 is worked out. Takes a list or plain numbers. */
    reshape(...shape: number[] | [readonly number[]]): Tensor;
    /** The same elements outside the graph. */
    detach(): Tensor;
    /** A copy with a buffer of its own. */
    clone(): Tensor;
    /** Gradients of every leaf below, into their `.grad`; see `backward`. */
    backward(options?: BackwardOptions): void;
  }
}

const { add, sub, mul, div, minimum, maximum } = pointwise;
for (const [name, fn] of Object.entries({ ...methods, add, sub, mul, div, minimum, maximum })) {
  Object.defineProperty(Tensor.prototype, name, {
    configurable: true,
    value(this: Tensor, ...rest: unknown[]) {
      return (fn as (...args: unknown[]) => unknown)(this, ...rest);
    },
  });
}

Tensor.prototype.reshape = function (...shape) {
  return shapes.reshape(this, (Array.isArray(shape[0]) ? shape[0] : shape) as number[]);
};
Tensor.prototype.detach = function () {
  return this.alias();
};
Tensor.prototype.clone = function () {
  return pointwise.clone(this);
};
Tensor.prototype.backward = function (options) {
  backward(this, options);
};
