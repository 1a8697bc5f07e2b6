import { MicroMindError } from "../device/errors.ts";
import { eachTensor } from "../tensor/scope.ts";
import type { GraphNode, Tensor } from "../tensor/tensor.ts";

/** What an op keeps for its gradient: tensors and plain values by name. */
export type Saved = Record<string, unknown>;

/** What a gradient may ask of the engine. */
export interface GradientContext {
  /** Whether input `i` (counting the op's tensors in order) wants a gradient. */
  needs(i: number): boolean;
  /**
   * The gradient buffer that input `i` accumulates into, where it is a parameter that already has one: a kernel may add to
   * it in place, and the gradient then returns `null` for that input.
   */
  into(i: number): Tensor | undefined;
  /**
   * Takes over what other ops have given input `i` so far: a kernel may add it in passing, and the gradient then returns the
   * sum. Freed after the gradient.
   */
  take(i: number): Tensor | undefined;
}

export type Gradient<S extends Saved> = (
  dy: Tensor,
  saved: S,
  context: GradientContext,
) => (Tensor | null | undefined)[];

let order = 0;

/** One op's application: where its gradient goes, and what that needs. Freed by its last holder. */
export class OpNode implements GraphNode {
  readonly order = order++;
  private holders = 0;
  private readonly versions: number[] = [];

  constructor(
    readonly op: string,
    readonly inputs: readonly (Node | undefined)[],
    /** Handles of its own on what the gradient needs; undefined once consumed. */
    public saved: Saved | undefined,
    readonly gradient: Gradient<Saved>,
    /** The gradient is built from ops that have gradients themselves. */
    readonly twice: boolean,
    /** The names in `saved` that hold the op's own output: outside the graph there, or they would close a circle. */
    readonly outputs: readonly string[],
  ) {
    for (const input of inputs) input?.retain();
    eachTensor(saved, (tensor) => this.versions.push(tensor.version));
  }

  /** @throws MicroMindError where something that was saved has other elements by now */
  expectUnchanged(): void {
    let i = 0;
    eachTensor(this.saved, (tensor) => {
      if (tensor.version !== this.versions[i++])
        throw new MicroMindError(
          `backward: ${tensor}, which the gradient of ${this.op} needs, was changed since (by write or an optimizer's step); run backward first, or the forward pass again`,
        );
    });
  }

  retain(): void {
    this.holders++;
  }

  release(): void {
    if (--this.holders > 0) return;
    this.free();
    for (const input of this.inputs) input?.release();
  }

  /** Lets go of what was saved. */
  free(): void {
    eachTensor(this.saved, (tensor) => tensor.dispose());
    this.saved = undefined;
  }
}

/** The end of a path: a tensor that wants its gradient in `.grad`. */
export class LeafNode implements GraphNode {
  readonly order = order++;
  constructor(readonly tensor: Tensor) {}
  retain(): void {}
  release(): void {}
}

export type Node = OpNode | LeafNode;

let recording = true;

/** Whether ops record themselves for a gradient. */
export function isRecording(): boolean {
  return recording;
}

export function withRecording<R>(on: boolean, fn: () => R): R {
  const before = recording;
  recording = on;
  let result: R;
  try {
    result = fn();
  } catch (error) {
    recording = before;
    throw error;
  }
  if (!(result instanceof Promise)) {
    recording = before;
    return result;
  }
  return result.finally(() => {
    recording = before;
  }) as R;
}

/** Runs `fn` without recording a graph and hands on what it returns. */
export function noGrad<R>(fn: () => R): R {
  return withRecording(false, fn);
}

/** The node of a tensor in the graph, or undefined where no gradient can reach it. */
export function nodeOf(tensor: Tensor): Node | undefined {
  if (!tensor.node && tensor.requiresGrad) tensor.attach(new LeafNode(tensor));
  const { node } = tensor;
  const frozen = node instanceof LeafNode && !node.tensor.requiresGrad; // since it was last used; aliases share its node
  return frozen ? undefined : (node as Node | undefined);
}

/** The graph of this tensor was consumed by a `backward()` before. */
export class ConsumedGraphError extends MicroMindError {}
