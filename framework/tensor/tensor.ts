import type { View } from "../device/bindings.ts";
import { DisposedError, DTypeError, ShapeError } from "../device/errors.ts";
import type { Block } from "../device/pool.ts";
import { bytesOf, type DType, decode, encode, type HostArray } from "./dtype.ts";
import { gpu } from "./engine.ts";
import { currentScope, type Scope } from "./scope.ts";
import { type Dims, inferShape, showShape, sizeOf } from "./shape.ts";

/** Elements: windows that start at a multiple of them start at 256 bytes, which every adapter binds, in f16 too. */
export const ALIGN = 128;

/** Elements that a tensor of `size` takes up where others stand behind it in one buffer. */
export const aligned = (size: number): number => Math.ceil(size / ALIGN) * ALIGN;

/** A block shared by the tensors that view it; it returns to the pool with the last of them. */
class Storage {
  private users = 0;
  /** How often elements were replaced in place. */
  version = 0;
  constructor(readonly block: Block) {}

  retain(): this {
    this.users++;
    return this;
  }

  release(): void {
    if (--this.users === 0) gpu().release(this.block);
  }

  get count(): number {
    return this.users;
  }
}

/** What autograd hangs on a tensor. The tensor counts as one holder of it. */
export interface GraphNode {
  retain(): void;
  release(): void;
}

export interface TensorOptions {
  dtype?: DType;
  requiresGrad?: boolean;
  /** For typed arrays and flat lists: the shape that they fill. */
  shape?: Dims;
}

export type Nested = number | Nested[];

/** What a tensor has to release. */
interface Held {
  storage: Storage;
  node: GraphNode | undefined;
}

/** Frees what a script that never calls dispose or scope lets go of. */
const forgotten = new FinalizationRegistry<Held>(({ storage, node }) => {
  try {
    storage.release();
    node?.release();
  } catch {} // the device is closed
});

/**
 * A contiguous array on the GPU. Its methods beyond those below are the ops (`framework/ops/methods.ts`).
 * It lives until `dispose()`, the end of its `scope`, or (last resort) garbage collection.
 */
export class Tensor {
  readonly isTensor = true;
  /** For errors and reports; parameters carry their path in the model. */
  name = "tensor";
  grad: Tensor | undefined;
  /** Of an f32 parameter: its rounded copy that f16 products read, kept up by the optimizer. */
  half: Tensor | undefined;
  /** Makes the leaf node of a tensor that wants a gradient; set by autograd. */
  requiresGrad = false;
  /** Whether it is a module's parameter, and stays one while it is frozen (`requiresGrad = false`). */
  isParameter = false;
  private held: Held | undefined;
  private scope: Scope | undefined;
  private freedAt: Error | undefined;

  constructor(
    storage: Storage,
    readonly shape: Dims,
    readonly dtype: DType,
    /** First element within the storage. */
    private offset = 0,
  ) {
    this.held = { storage: storage.retain(), node: undefined };
    this.moveTo(currentScope());
    forgotten.register(this, this.held, this);
  }

  /** A tensor with whatever its buffer holds. */
  static empty(shape: Dims, dtype: DType = "f32", name = "tensor"): Tensor {
    expectSizes(name, shape, dtype);
    const bytes = sizeOf(shape) * bytesOf(dtype);
    const tensor = new Tensor(new Storage(gpu().alloc(bytes, { name, shape, dtype })), [...shape], dtype);
    tensor.name = name;
    return tensor;
  }

  static from(data: Nested | ArrayLike<number>, options: TensorOptions = {}): Tensor {
    const { values, shape } = flatten(data);
    const dtype = options.dtype ?? dtypeOf(data);
    const tensor = Tensor.empty(options.shape ? inferShape("tensor", options.shape, values.length) : shape, dtype);
    if (values.length) gpu().write(tensor.view(), encode(values, dtype));
    return tensor;
  }

  /**
   * One tensor over several that lie one behind the other in one buffer, along their first axis; undefined where they don't.
   * It views them, outside the graph.
   */
  static join(parts: readonly Tensor[]): Tensor | undefined {
    const [first] = parts;
    let end = first.offset;
    let rows = 0;
    for (const part of parts) {
      if (part.live() !== first.live() || part.offset !== end || part.dtype !== first.dtype) return undefined;
      end += part.size;
      rows += part.shape[0];
    }
    const shape = [rows, ...first.shape.slice(1)];
    return sizeOf(shape) === end - first.offset
      ? new Tensor(first.live(), shape, first.dtype, first.offset)
      : undefined;
  }

  /**
   * One flat tensor from the first of several to the last, and the elements from each to the next, where they are alike and lie at equal
   * distances in one buffer; undefined where they don't. It views them and what lies between, outside the graph.
   */
  static spaced(parts: readonly Tensor[]): { all: Tensor; step: number } | undefined {
    const [first, second = first] = parts;
    const step = second.offset - first.offset;
    const storage = first.live();
    const alike = parts.every(
      (part, i) =>
        part.live() === storage &&
        part.dtype === first.dtype &&
        part.offset === first.offset + i * step &&
        part.size === first.size,
    );
    if (!alike || (parts.length > 1 && step < first.size)) return undefined;
    const size = (parts.length - 1) * step + first.size;
    return { all: new Tensor(storage, [size], first.dtype, first.offset), step };
  }

  /** Whether this lies right behind `other` in one buffer. */
  follows(other: Tensor): boolean {
    return this.held?.storage === other.held?.storage && this.offset === other.offset + other.size;
  }

  get size(): number {
    return sizeOf(this.shape);
  }

  get rank(): number {
    return this.shape.length;
  }

  /** Whether another handle views the same elements. */
  get shared(): boolean {
    return this.live().count > 1;
  }

  get disposed(): boolean {
    return !this.held;
  }

  /** The size of one axis; negative counts from the end. */
  dim(axis: number): number {
    return this.shape[axis < 0 ? axis + this.shape.length : axis];
  }

  /** The bytes behind it, for a launch. @throws DisposedError */
  view(): View {
    const { block } = this.live();
    return { block, offset: this.offset * bytesOf(this.dtype), bytes: this.size * bytesOf(this.dtype) };
  }

  /** Another handle on the same elements, of another shape if given, outside the graph. */
  alias(shape: Dims = this.shape): Tensor {
    const tensor = new Tensor(this.live(), shape, this.dtype, this.offset);
    tensor.name = this.name;
    if (shape === this.shape) tensor.half = this.half;
    return tensor;
  }

  /** A handle on `shape` elements from element `start` on, outside the graph. `start` bytes must be a multiple of 256. */
  window(start: number, shape: Dims): Tensor {
    if ((start * bytesOf(this.dtype)) % 256 || start + sizeOf(shape) > this.size) {
      throw new ShapeError(
        `window: ${showShape(shape)} from element ${start} is no aligned part of ${showShape(this.shape)}`,
      );
    }
    return new Tensor(this.live(), shape, this.dtype, this.offset + start);
  }

  /** Waits for all work so far and reads the elements; f16 comes as f32. */
  async data(): Promise<HostArray> {
    return decode(await gpu().read(this.view()), this.dtype);
  }

  /** The only element. @throws ShapeError where there are more */
  async item(): Promise<number> {
    if (this.size !== 1) throw new ShapeError(`item: the tensor is ${showShape(this.shape)}, expected one element`);
    return (await this.data())[0];
  }

  async tolist(): Promise<Nested> {
    return nest(await this.data(), this.shape);
  }

  /** How often elements that it shares were replaced in place: by `write`, or by an optimizer. */
  get version(): number {
    return this.live().version;
  }

  /** Says that the elements are others now, so that a gradient which needs the old ones is refused. */
  touch(): void {
    this.live().version++;
  }

  /** Replaces the elements. @throws ShapeError where their count differs */
  write(values: ArrayLike<number>): this {
    if (values.length !== this.size)
      throw new ShapeError(`${this.name}: ${values.length} values for shape ${showShape(this.shape)}`);
    if (values.length) gpu().write(this.view(), encode(values, this.dtype));
    this.touch();
    this.half?.write(values);
    return this;
  }

  /** Moves its elements into `place`, of the same shape and dtype, and views them there from now on. Takes `place` over. */
  rehome(place: Tensor): void {
    gpu().copy(this.view(), place.view());
    const held = this.holding();
    const before = held.storage;
    held.storage = place.live().retain();
    this.offset = place.offset;
    before.release();
    place.dispose();
  }

  /** Takes it out of its scope: it lives until disposed. */
  keep(): this {
    this.moveTo(undefined);
    return this;
  }

  moveTo(scope: Scope | undefined): void {
    this.scope?.delete(this);
    this.scope = scope;
    scope?.add(this);
  }

  /** Hangs a graph node on the tensor (autograd's business). */
  attach(node: GraphNode): this {
    this.holding().node = node;
    node.retain();
    return this;
  }

  get node(): GraphNode | undefined {
    return this.held?.node;
  }

  dispose(): void {
    if (!this.held) return;
    forgotten.unregister(this);
    this.moveTo(undefined);
    const { storage, node } = this.held;
    this.held = undefined;
    this.freedAt = new Error("freed"); // its stack is formatted only if somebody asks
    storage.release();
    node?.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `${this.name} ${showShape(this.shape)} ${this.dtype}${this.disposed ? " (freed)" : ""}`;
  }

  private live(): Storage {
    return this.holding().storage;
  }

  private holding(): Held {
    if (this.held) return this.held;
    const where = this.freedAt?.stack?.split("\n").slice(1, 6).join("\n");
    throw new DisposedError(`${this.name} ${showShape(this.shape)} is used after it was freed, here:\n${where}`);
  }
}

/** @throws ShapeError, DTypeError */
function expectSizes(name: string, shape: Dims, dtype: DType): void {
  if (!Array.isArray(shape))
    throw new ShapeError(`${name}: the shape is ${String(shape)}, expected a list of sizes, such as [2, 3]`);
  for (const size of shape)
    if (!Number.isInteger(size) || size < 0)
      throw new ShapeError(`${name}: the shape is ${showShape(shape)}, expected whole numbers from 0 on`);
  if (!bytesOf(dtype)) throw new DTypeError(`${name}: dtype is ${String(dtype)}, expected f32, f16, i32 or u32`);
}

function dtypeOf(data: Nested | ArrayLike<number>): DType {
  if (data instanceof Int32Array) return "i32";
  if (data instanceof Uint32Array) return "u32";
  return "f32";
}

function flatten(data: Nested | ArrayLike<number>): { values: ArrayLike<number>; shape: number[] } {
  if (typeof data === "number") return { values: [data], shape: [] };
  if (data instanceof BigInt64Array)
    throw new DTypeError("tensor: a BigInt64Array has no dtype here; give Int32Array.from(data, Number)");
  if (!Array.isArray(data)) return { values: data as ArrayLike<number>, shape: [(data as ArrayLike<number>).length] };
  const shape: number[] = [];
  for (let level: Nested = data; Array.isArray(level); level = level[0] as Nested) shape.push(level.length);
  const values: number[] = [];
  const walk = (level: Nested, depth: number): void => {
    if (depth === shape.length) {
      if (typeof level !== "number" && typeof level !== "boolean") {
        throw new ShapeError(
          `tensor: found ${Array.isArray(level) ? "a list" : typeof level} where a number is expected`,
        );
      }
      values.push(Number(level));
    } else if (Array.isArray(level) && level.length === shape[depth]) for (const item of level) walk(item, depth + 1);
    else throw new ShapeError(`tensor: lists of different lengths at depth ${depth}, expected ${shape[depth]} items`);
  };
  walk(data, 0);
  return { values, shape };
}

function nest(values: ArrayLike<number>, shape: Dims): Nested {
  if (shape.length === 0) return values[0];
  const step = sizeOf(shape.slice(1));
  return Array.from({ length: shape[0] }, (_, i) =>
    shape.length === 1 ? values[i] : nest(Array.prototype.slice.call(values, i * step, (i + 1) * step), shape.slice(1)),
  );
}
