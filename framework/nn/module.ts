import { MicroMindError } from "../device/errors.ts";
import { updateInPlace } from "../ops/elementwise.ts";
import { unscoped } from "../tensor/scope.ts";
import { sameShape, showShape } from "../tensor/shape.ts";
import { aligned, Tensor } from "../tensor/tensor.ts";

/** Weights do not fit a module: the names that are missing, too many, or of another shape. */
export class StateDictError extends MicroMindError {}

/** A tensor that training changes, unless it is frozen by `requiresGrad = false`. It lives until disposed. */
export function parameter(data: Tensor): Tensor {
  data.requiresGrad = true;
  data.isParameter = true;
  return data.keep();
}

/**
 * Moves tensors of one dtype behind each other into one buffer, so that one launch can take them all (see `packedLinear`). They stay
 * the same objects. A gap stands behind one whose size is no multiple of what adapters align by.
 */
export function adjoin<T extends readonly Tensor[]>(tensors: T): T {
  const [{ dtype }] = tensors;
  const room = tensors.reduce((all, { size }) => all + aligned(size), 0);
  const whole = unscoped(() => Tensor.empty([room], dtype, "adjoined"));
  let start = 0;
  for (const tensor of tensors) {
    tensor.rehome(whole.window(start, tensor.shape));
    start += aligned(tensor.size);
  }
  whole.dispose();
  return tensors;
}

/** Copies in f16, one behind the other, so that what is adjoined in f32 is so in f16. */
function keepHalves(parameters: readonly Tensor[]): void {
  for (const p of parameters) p.half?.dispose();
  const places: number[] = [];
  const size = parameters.reduce((start, p) => {
    places.push(start);
    return start + aligned(p.size);
  }, 0);
  unscoped(() => {
    const whole = Tensor.empty([size], "f16", "halves");
    for (const [i, p] of parameters.entries()) {
      p.half = whole.window(places[i], p.shape);
      updateInPlace("a", p.half, [p]);
    }
    whole.dispose();
  });
}

/**
 * A part of a model. Parameters (see {@link parameter}), other tensors that want a gradient, and modules among its fields (alone or in lists) are its parameters and
 * children, named by their path as in PyTorch.
 */
export abstract class Module {
  training = true;

  abstract forward(...inputs: never[]): unknown;

  /** Parameters by path, each once: a tied weight stands under its first name. */
  namedParameters(prefix = ""): Map<string, Tensor> {
    const found = new Map<string, Tensor>();
    const seen = new Set<Tensor>();
    for (const [path, value] of this.walk(prefix)) {
      if (value instanceof Tensor && (value.isParameter || value.requiresGrad) && !seen.has(value)) {
        seen.add(value);
        found.set(path, value);
      }
    }
    return found;
  }

  parameters(): Tensor[] {
    return [...this.namedParameters().values()];
  }

  /** Number of elements in all parameters. */
  numParameters(): number {
    return this.parameters().reduce((sum, p) => sum + p.size, 0);
  }

  modules(): Module[] {
    return [this, ...[...this.walk("")].map(([, value]) => value).filter((value) => value instanceof Module)];
  }

  /** The modules inside, by path. */
  namedModules(): Map<string, Module> {
    return new Map([...this.walk("")].filter((found): found is [string, Module] => found[1] instanceof Module));
  }

  /**
   * Keeps its parameters as they are: they get no gradient, and optimizers pass them over.
   * @param halves matrices get copies in f16 for products of that precision, as an optimizer keeps them of what it trains
   */
  freeze({ halves = false } = {}): this {
    const parameters = this.parameters();
    for (const p of parameters) p.requiresGrad = false;
    if (halves) keepHalves(parameters.filter(({ rank, dtype }) => rank === 2 && dtype === "f32"));
    return this;
  }

  train(mode = true): this {
    for (const module of this.modules()) module.training = mode;
    return this;
  }

  eval(): this {
    return this.train(false);
  }

  /** The parameters themselves, by path. */
  stateDict(): Map<string, Tensor> {
    return this.namedParameters();
  }

  /**
   * Copies values into the parameters of the same path.
   * @param strict every parameter must be given and every name be known (default true)
   * @throws StateDictError with all that does not fit; nothing is changed then
   */
  loadStateDict(
    state: Map<string, { shape: readonly number[]; data: ArrayLike<number> }>,
    { strict = true } = {},
  ): void {
    const own = this.namedParameters();
    const missing = [...own.keys()].filter((name) => !state.has(name));
    const unexpected = [...state.keys()].filter((name) => !own.has(name));
    const shapes = [...own].filter(([name, p]) => state.has(name) && !sameShape(state.get(name)?.shape ?? [], p.shape));
    const problems = [
      ...shapes.map(
        ([name, p]) => `${name} is ${showShape(state.get(name)?.shape ?? [])}, expected ${showShape(p.shape)}`,
      ),
      ...(strict ? missing.map((name) => `${name} is missing`) : []),
      ...(strict ? unexpected.map((name) => `${name} is not in the model`) : []),
    ];
    if (problems.length)
      throw new StateDictError(`loadStateDict: the weights do not fit the model:\n  ${shorten(problems).join("\n  ")}`);
    for (const [name, p] of own) {
      const given = state.get(name);
      if (given) p.write(given.data);
    }
  }

  /** Frees all parameters and their gradients. */
  dispose(): void {
    for (const p of this.parameters()) {
      p.grad?.dispose();
      p.half?.dispose();
      p.dispose();
    }
  }

  /** Fields and what is inside them, depth first, with their paths. */
  private *walk(prefix: string): Generator<[string, Tensor | Module]> {
    for (const [key, value] of Object.entries(this))
      yield* walkField(prefix ? `${prefix}.${key}` : key, value, (m, p) => m.walk(p));
  }
}

function* walkField(
  path: string,
  value: unknown,
  into: (module: Module, path: string) => Generator<[string, Tensor | Module]>,
): Generator<[string, Tensor | Module]> {
  if (value instanceof Tensor) yield [path, value];
  else if (value instanceof Module) {
    yield [path, value];
    yield* into(value, path);
  } else if (Array.isArray(value))
    for (const [i, item] of value.entries()) yield* walkField(`${path}.${i}`, item, into);
}

function shorten(lines: string[], most = 12): string[] {
  return lines.length <= most ? lines : [...lines.slice(0, most), `and ${lines.length - most} more`];
}
