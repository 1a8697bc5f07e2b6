import { random } from "../../kernels/random.ts";
import type { DType } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import { nextDraw } from "../tensor/random.ts";
import type { Dims } from "../tensor/shape.ts";
import { type Nested, Tensor, type TensorOptions } from "../tensor/tensor.ts";
import { cast, full } from "./pointwise.ts";

/** A tensor of numbers, nested lists or a typed array. `requiresGrad` asks for its gradient in `.grad`. */
export function tensor(data: Nested | ArrayLike<number>, options: TensorOptions = {}): Tensor {
  return wanting(Tensor.from(data, options), options);
}

export function zeros(shape: Dims, options: TensorOptions = {}): Tensor {
  return wanting(full(shape, 0, options.dtype), options);
}

export function ones(shape: Dims, options: TensorOptions = {}): Tensor {
  return wanting(full(shape, 1, options.dtype), options);
}

/** Numbers from `start` (0) up to, not including, `end`, `step` apart; i32 where all are whole, else f32. */
export function arange(start: number, end?: number, step = 1, options: TensorOptions = {}): Tensor {
  const [from, to] = end === undefined ? [0, start] : [start, end];
  const values = Array.from({ length: Math.max(0, Math.ceil((to - from) / step)) }, (_, i) => from + i * step);
  const dtype = options.dtype ?? ([from, step].every(Number.isInteger) ? "i32" : "f32");
  return wanting(Tensor.from(values, { dtype }), options);
}

/** Uniform random numbers in [0, 1), from {@link manualSeed}. */
export function rand(shape: Dims, options: TensorOptions = {}): Tensor {
  return wanting(draw(shape, "uniform", options.dtype), options);
}

/** Normal random numbers of mean 0 and variance 1, from {@link manualSeed}. */
export function randn(shape: Dims, options: TensorOptions = {}): Tensor {
  return wanting(draw(shape, "normal", options.dtype), options);
}

function draw(shape: Dims, distribution: "uniform" | "normal", dtype: DType = "f32"): Tensor {
  const y = Tensor.empty(shape, "f32", "random");
  const uniforms = { n: y.size, ...nextDraw() };
  if (y.size) gpu().launch(random, { y: y.view() }, { distribution }, uniforms);
  return cast(y, dtype);
}

function wanting(tensor: Tensor, { requiresGrad = false }: TensorOptions): Tensor {
  tensor.requiresGrad = requiresGrad;
  return tensor;
}
