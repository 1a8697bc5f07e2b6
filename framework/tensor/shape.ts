import { ShapeError } from "../device/errors.ts";

export type Dims = readonly number[];

export function sizeOf(shape: Dims): number {
  let size = 1;
  for (const dim of shape) size *= dim;
  return size;
}

export function showShape(shape: Dims): string {
  return `[${shape.join(", ")}]`;
}

export function sameShape(a: Dims, b: Dims): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}

/** Row-major strides in elements. */
export function contiguous(shape: Dims): number[] {
  const strides = new Array<number>(shape.length);
  for (let i = shape.length - 1, step = 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/** NumPy's rule: aligned at the right, a dimension of 1 stretches. @throws ShapeError where two dimensions differ */
export function broadcastShapes(op: string, ...shapes: Dims[]): number[] {
  const rank = Math.max(...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, i) => {
    let dim = 1;
    for (const shape of shapes) {
      const d = shape[i - rank + shape.length] ?? 1;
      if (d !== 1 && dim !== 1 && d !== dim) {
        throw new ShapeError(
          `${op}: shapes ${shapes.map(showShape).join(" and ")} do not broadcast (axis ${i - rank}: ${dim} and ${d})`,
        );
      }
      if (d !== 1) dim = d;
    }
    return dim;
  });
}

/** Strides with which a tensor of `shape` reads as `target`: 0 along stretched axes. */
export function broadcastStrides(shape: Dims, target: Dims): number[] {
  const own = contiguous(shape);
  const lead = target.length - shape.length;
  return target.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : own[i - lead]));
}

/** A non-negative axis. @throws ShapeError where the rank has no such axis */
export function axisOf(op: string, axis: number, shape: Dims): number {
  const at = axis < 0 ? axis + shape.length : axis;
  if (!Number.isInteger(axis) || at < 0 || at >= shape.length) {
    throw new ShapeError(`${op}: axis ${axis} is outside shape ${showShape(shape)}`);
  }
  return at;
}

/** The shape with its one -1 worked out. @throws ShapeError where the sizes do not match */
export function inferShape(op: string, shape: Dims, size: number): number[] {
  const known = sizeOf(shape.filter((d) => d !== -1));
  const holes = shape.filter((d) => d === -1).length;
  const fits = holes === 0 ? known === size : holes === 1 && known > 0 && size % known === 0;
  if (!fits || shape.some((d) => d < -1 || !Number.isInteger(d))) {
    throw new ShapeError(`${op}: ${size} elements do not fit shape ${showShape(shape)}`);
  }
  return shape.map((d) => (d === -1 ? size / known : d));
}

/** @throws ShapeError unless the shape is the one expected */
export function expectShape(op: string, name: string, shape: Dims, expected: Dims, because = ""): void {
  if (!sameShape(shape, expected)) {
    throw new ShapeError(
      `${op}: ${name} is ${showShape(shape)}, expected ${showShape(expected)}${because && ` (${because})`}`,
    );
  }
}

/**
 * Merges neighbouring axes that every operand walks in one stride, and drops axes of 1, so that a kernel sees as few axes
 * as there are.
 */
export function collapse(shape: Dims, strides: number[][]): { shape: number[]; strides: number[][] } {
  const dims: number[] = [];
  const out: number[][] = strides.map(() => []);
  shape.forEach((dim, i) => {
    if (dim === 1) return;
    const last = dims.length - 1;
    const joins = last >= 0 && out.every((own, operand) => own[last] === strides[operand][i] * dim);
    if (joins) dims[last] *= dim;
    else dims.push(dim);
    out.forEach((own, operand) => {
      own[joins ? last : own.length] = strides[operand][i];
    });
  });
  if (dims.length === 0) {
    dims.push(1);
    for (const own of out) own.push(0);
  }
  return { shape: dims, strides: out };
}
