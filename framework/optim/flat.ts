import { fill, updateInPlace } from "../ops/elementwise.ts";
import { gpu } from "../tensor/engine.ts";
import { unscoped } from "../tensor/scope.ts";
import { expectShape } from "../tensor/shape.ts";
import { aligned, Tensor } from "../tensor/tensor.ts";

/** Parameters and their gradients, each in one buffer of which the tensors are views. */
export interface FlatBuffer {
  names: string[];
  parameters: Tensor[];
  /** What each parameter was given: views of `gradients` and `halves`. */
  own: { grad: Tensor; half: Tensor | undefined }[];
  /** First element of each parameter. */
  offsets: number[];
  values: Tensor;
  gradients: Tensor;
  /** The values rounded to f16, where products read them so; the parameters' `half` view it. */
  halves: Tensor | undefined;
}

/**
 * Moves parameters into few large buffers, of `most` elements (what the adapter binds) unless one parameter has more, and gives each a gradient that views
 * another: one launch clears, measures or updates a whole buffer. The parameters stay the same objects. With `halves` they get copies in f16.
 * Those that lie one behind the other stay together, since launches take them together (see `adjoin`), unless they are too many.
 */
export function flatten(
  named: Map<string, Tensor>,
  halves = false,
  most = Math.floor(gpu().device.limits.maxStorageBufferBindingSize / 4),
): FlatBuffer[] {
  const groups: { names: string[]; offsets: number[]; size: number }[] = [];
  for (const run of runs(named, most)) {
    const sizes = run.map(([, p]) => aligned(p.size));
    let group = groups[groups.length - 1];
    if (!group || group.size + sizes.reduce((all, size) => all + size, 0) > most) {
      group = { names: [], offsets: [], size: 0 };
      groups.push(group);
    }
    for (const [i, [name]] of run.entries()) {
      group.names.push(name);
      group.offsets.push(group.size);
      group.size += sizes[i];
    }
  }
  return groups.map(({ names, offsets, size }) => unscoped(() => build(names, offsets, size, named, halves)));
}

/** Parameters that lie one behind the other, of `most` elements together; the others alone. */
function runs(named: Map<string, Tensor>, most: number): [string, Tensor][][] {
  const found: [string, Tensor][][] = [];
  let size = 0;
  for (const entry of named) {
    const run = found[found.length - 1];
    const last = run?.[run.length - 1][1];
    size = last && entry[1].follows(last) ? size + entry[1].size : entry[1].size;
    if (size > entry[1].size && size <= most) run.push(entry);
    else {
      found.push([entry]);
      size = entry[1].size;
    }
  }
  return found;
}

function build(
  names: string[],
  offsets: number[],
  size: number,
  named: Map<string, Tensor>,
  halved: boolean,
): FlatBuffer {
  const values = fill(Tensor.empty([size], "f32", "parameters"), 0);
  const gradients = fill(Tensor.empty([size], "f32", "gradients"), 0);
  const halves = halved ? Tensor.empty([size], "f16", "halves") : undefined;
  const parameters = names.map((name) => named.get(name) as Tensor);
  const own = parameters.map((p, i) => {
    p.rehome(values.window(offsets[i], p.shape));
    p.name = names[i];
    const before = p.grad;
    p.grad = gradients.window(offsets[i], p.shape);
    p.grad.name = `${names[i]}.grad`;
    if (before && !before.disposed) takeOver(before, p.grad);
    before?.dispose();
    p.half?.dispose();
    p.half = halves?.window(offsets[i], p.shape);
    return { grad: p.grad, half: p.half };
  });
  const buffer = { names, parameters, own, offsets, values, gradients, halves };
  refreshHalves(buffer);
  return buffer;
}

/** Copies a gradient that lies elsewhere into its place. @throws ShapeError where it is of another shape, DisposedError where it was freed */
export function takeOver(gradient: Tensor, place: Tensor): void {
  expectShape("optimizer", place.name, gradient.shape, place.shape);
  updateInPlace("f32(a)", place, [gradient]);
}

/** Rounds the values to f16 anew, after they have changed. */
export function refreshHalves({ values, halves }: FlatBuffer): void {
  if (halves) updateInPlace("a", halves, [values]);
}
