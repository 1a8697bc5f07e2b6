import { scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { type Gradient, isRecording, nodeOf, noGrad, OpNode, type Saved } from "./graph.ts";

export interface OpDefinition<A extends unknown[], S extends Saved> {
  /** Checks shapes and dtypes, launches the kernels. What it makes beyond `y` and `saved` is freed. */
  value(...args: A): { y: Tensor; saved: S };
  /** A gradient for each tensor among the arguments (those in lists and option objects too), in their order; `null` where none is due. */
  gradient: Gradient<S>;
  /** The gradient is built from differentiable ops, so that it can be differentiated itself. */
  twice?: boolean;
}

/** Makes an op from its value and its gradient; they stand together, and autograd does the rest. */
export function op<A extends unknown[], S extends Saved>(
  name: string,
  definition: OpDefinition<A, S>,
): (...args: A) => Tensor {
  const gradient = definition.gradient as unknown as Gradient<Saved>;
  return (...args) => {
    const inputs = tensorArguments(args);
    const nodes = isRecording() ? inputs.map(nodeOf) : [];
    const { y, saved } = noGrad(() => scope(() => definition.value(...args)));
    y.name = name;
    const wanted = nodes.some(Boolean);
    const kept: Saved = {};
    for (const key in saved) kept[key] = own(saved[key], inputs, y, wanted);
    if (!wanted) return y;
    const outputs = Object.keys(saved).filter((key) => saved[key] === y);
    return y.attach(new OpNode(name, nodes, kept, gradient, definition.twice ?? false, outputs));
  };
}

function tensorArguments(args: unknown[]): Tensor[] {
  const found: Tensor[] = [];
  for (const arg of args) {
    if (arg instanceof Tensor) found.push(arg);
    else if (arg && typeof arg === "object")
      for (const item of Object.values(arg)) if (item instanceof Tensor) found.push(item);
  }
  return found;
}

/**
 * The graph's own handle on a saved value, or nothing where there is no graph. Inputs keep their place in the graph, for
 * second derivatives; what the op made for itself becomes the graph's.
 */
function own(value: unknown, inputs: Tensor[], y: Tensor, wanted: boolean): unknown {
  if (Array.isArray(value)) return value.map((item) => own(item, inputs, y, wanted));
  if (!(value instanceof Tensor)) return value;
  const foreign = value === y || inputs.includes(value);
  if (!wanted) {
    if (!foreign) value.dispose();
    return undefined;
  }
  if (!foreign) return value.keep();
  const handle = value.alias().keep();
  return value !== y && value.node ? handle.attach(value.node) : handle;
}
