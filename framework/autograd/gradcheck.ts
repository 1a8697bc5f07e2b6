import { MicroMindError } from "../device/errors.ts";
import { scope } from "../tensor/scope.ts";
import { showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { backward } from "./backward.ts";
import { noGrad } from "./graph.ts";

export interface GradcheckOptions {
  /** Step of the central difference (f32 wants a large one; default 1e-2). */
  eps?: number;
  /** Allowed |analytic − numeric| / (1 + |numeric|) (default 1e-2). */
  tolerance?: number;
}

/** A gradient that finite differences do not confirm. */
export class GradcheckError extends MicroMindError {}

/**
 * Checks gradients by finite differences: `fn` of the inputs (f32 tensors of few elements that want a gradient) is weighted to one
 * number by fixed pseudo-random weights, and each input element is moved up and down by `eps`.
 * @returns the largest relative error seen
 * @throws GradcheckError with input, element and both values where one is over the tolerance
 */
export async function gradcheck(
  fn: (...inputs: Tensor[]) => Tensor,
  inputs: Tensor[],
  { eps = 1e-2, tolerance = 1e-2 }: GradcheckOptions = {},
): Promise<number> {
  const analytic = await analyticGradients(fn, inputs);
  let worst = 0;
  for (const [i, input] of inputs.entries()) {
    if (!input.requiresGrad) continue;
    const original = Float32Array.from(await input.data());
    for (let e = 0; e < original.length; e++) {
      const moved = async (by: number) => {
        const values = original.slice();
        values[e] += by;
        input.write(values);
        return weightedSum(await evaluate(fn, inputs));
      };
      const numeric =
        ((await moved(eps)) - (await moved(-eps))) / (Math.fround(original[e] + eps) - Math.fround(original[e] - eps));
      const error = Math.abs(analytic[i][e] - numeric) / (1 + Math.abs(numeric));
      if (!(error <= tolerance)) {
        input.write(original);
        throw new GradcheckError(
          `gradcheck: input ${i} ${showShape(input.shape)}, element ${e}: the gradient is ${analytic[i][e]}, finite differences give ${numeric}`,
        );
      }
      worst = Math.max(worst, error);
    }
    input.write(original);
  }
  return worst;
}

async function evaluate(fn: (...inputs: Tensor[]) => Tensor, inputs: Tensor[]): Promise<ArrayLike<number>> {
  const y = noGrad(() => scope(() => fn(...inputs)));
  const values = await y.data();
  if (!inputs.includes(y)) y.dispose();
  return values;
}

async function analyticGradients(fn: (...inputs: Tensor[]) => Tensor, inputs: Tensor[]): Promise<ArrayLike<number>[]> {
  const before = inputs.map((input) => input.grad);
  for (const input of inputs) input.grad = undefined;
  const y = scope(() => fn(...inputs));
  const gradient = Tensor.from(
    Float32Array.from({ length: y.size }, (_, i) => weight(i)),
    { shape: y.shape },
  );
  backward(y, { gradient });
  const result: ArrayLike<number>[] = [];
  for (const [i, input] of inputs.entries()) {
    result.push(input.grad ? await input.grad.data() : new Float32Array(input.size));
    input.grad?.dispose();
    input.grad = before[i];
  }
  gradient.dispose();
  y.dispose();
  return result;
}

/** Weights of both signs that no symmetry of an op cancels. */
function weight(i: number): number {
  return Math.sin(i * 1.7 + 0.5) + 0.1;
}

function weightedSum(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * weight(i);
  return sum;
}
