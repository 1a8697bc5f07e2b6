import type { Tensor } from "./tensor.ts";

/** The tensors made inside a `scope`, freed at its end. */
export type Scope = Set<Tensor>;

const stack: Scope[] = [];

export function currentScope(): Scope | undefined {
  return stack[stack.length - 1];
}

/**
 * Runs `fn` and frees every tensor made inside it, except those that it returns (alone, or in arrays, objects and maps) and
 * what the graph needs for a gradient. Returned tensors belong to the scope around. An async `fn` is awaited; tensors made by
 * other code in the meantime fall into the same scope, so keep awaits short or outside.
 */
export function scope<R>(fn: () => R): R {
  const own: Scope = new Set();
  stack.push(own);
  let result: R;
  try {
    result = fn();
  } catch (error) {
    leave(own);
    throw error;
  }
  if (!(result instanceof Promise)) {
    leave(own, result);
    return result;
  }
  return result.then(
    (value) => {
      leave(own, value);
      return value;
    },
    (error) => {
      leave(own);
      throw error;
    },
  ) as R;
}

/** Runs `fn` outside all scopes: what it makes lives until it is disposed. */
export function unscoped<R>(fn: () => R): R {
  const saved = stack.splice(0);
  try {
    return fn();
  } finally {
    stack.splice(0, stack.length, ...saved);
  }
}

function leave(own: Scope, result?: unknown): void {
  const at = stack.lastIndexOf(own);
  if (at >= 0) stack.splice(at, 1);
  const outer = currentScope();
  eachTensor(result, (tensor) => {
    if (own.delete(tensor)) tensor.moveTo(outer);
  });
  for (const tensor of own) tensor.dispose();
}

/** Visits the tensors in a value: itself, or inside arrays, plain objects, maps and sets. */
export function eachTensor(value: unknown, visit: (tensor: Tensor) => void): void {
  if (value === null || typeof value !== "object") return;
  if (isTensor(value)) visit(value);
  else if (Array.isArray(value) || value instanceof Set) for (const item of value) eachTensor(item, visit);
  else if (value instanceof Map) for (const item of value.values()) eachTensor(item, visit);
  else if (Object.getPrototypeOf(value) === Object.prototype)
    for (const name in value) eachTensor((value as Record<string, unknown>)[name], visit);
}

function isTensor(value: object): value is Tensor {
  return "isTensor" in value && value.isTensor === true;
}
