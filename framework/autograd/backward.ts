import { MicroMindError, ShapeError } from "../device/errors.ts";
import { scope, unscoped } from "../tensor/scope.ts";
import { sameShape, showShape } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  ConsumedGraphError,
  type GradientContext,
  LeafNode,
  type Node,
  nodeOf,
  OpNode,
  withRecording,
} from "./graph.ts";

export interface BackwardOptions {
  /** dL/d(this), of this shape; ones for a single element where silent. */
  gradient?: Tensor;
  /** Keeps what the graph saved, for another backward. */
  retainGraph?: boolean;
  /** Records the gradients' own graph, so that they can be differentiated; implies `retainGraph`. */
  createGraph?: boolean;
}

/** The few element-wise kernels that accumulation needs; `framework/ops` supplies them, which is the layer above. */
export interface Accumulator {
  add(a: Tensor, b: Tensor): Tensor;
  addInto(target: Tensor, dy: Tensor): void;
  copy(a: Tensor): Tensor;
  ones(like: Tensor): Tensor;
}

let arithmetic: Accumulator;

export function provideAccumulator(accumulator: Accumulator): void {
  arithmetic = accumulator;
}

/**
 * Reverse-mode differentiation from `root` to every leaf that wants a gradient, which accumulates into its `.grad`.
 * Consumes the graph and frees it as it goes.
 * @throws ShapeError where `root` has several elements and no gradient is given
 * @throws ConsumedGraphError where the graph was consumed before
 */
export function backward(root: Tensor, options: BackwardOptions = {}): void {
  const start = nodeOf(root);
  if (!start) throw new MicroMindError(`backward: ${root} does not depend on a tensor with requiresGrad`);
  const { createGraph = false, retainGraph = createGraph } = options;
  const gradients = new Map<Node, Tensor>([[start, seedGradient(root, options.gradient)]]);
  withRecording(createGraph, () => {
    for (const node of reachable(start)) {
      const dy = gradients.get(node);
      gradients.delete(node);
      if (!dy) continue;
      if (node instanceof LeafNode) accumulate(node.tensor, dy, createGraph);
      else {
        differentiate(node, dy, gradients, createGraph);
        dy.dispose();
        if (!retainGraph) node.free();
      }
    }
  });
}

function seedGradient(root: Tensor, given?: Tensor): Tensor {
  if (!given) {
    if (root.size !== 1)
      throw new ShapeError(`backward: ${root} has ${root.size} elements; give {gradient} of its shape`);
    return unscoped(() => arithmetic.ones(root));
  }
  if (!sameShape(given.shape, root.shape))
    throw new ShapeError(`backward: gradient is ${showShape(given.shape)}, expected ${showShape(root.shape)}`);
  const seed = given.alias().keep();
  return given.node ? seed.attach(given.node) : seed;
}

/** Nodes from which a gradient may come, consumers before producers: the order of creation, reversed. */
function reachable(start: Node): Node[] {
  const found = new Set<Node>([start]);
  for (const node of found) if (node instanceof OpNode) for (const input of node.inputs) if (input) found.add(input);
  return [...found].sort((a, b) => b.order - a.order);
}

function differentiate(node: OpNode, dy: Tensor, gradients: Map<Node, Tensor>, createGraph: boolean): void {
  if (!node.saved)
    throw new ConsumedGraphError(
      `backward: the graph of ${node.op} was consumed by an earlier backward; use {retainGraph: true} there`,
    );
  node.expectUnchanged();
  if (createGraph && !node.twice) throw new MicroMindError(`backward: ${node.op} has no second derivative`);
  const saved = { ...node.saved };
  const outputs = createGraph
    ? node.outputs.map((name) => ({ name, handle: (saved[name] as Tensor).alias().keep().attach(node) }))
    : [];
  for (const { name, handle } of outputs) saved[name] = handle;
  const taken: Tensor[] = [];
  const context: GradientContext = {
    needs: (i) => node.inputs[i] !== undefined,
    into: (i) => intoLeaf(node.inputs[i], createGraph),
    take(i) {
      const input = node.inputs[i];
      const before = input && !createGraph ? gradients.get(input) : undefined;
      if (!input || !before) return undefined;
      gradients.delete(input);
      taken.push(before);
      return before;
    },
  };
  const results = scope(() => node.gradient(dy, saved, context).map((dx, i) => (node.inputs[i] ? dx : null)));
  for (const tensor of taken) tensor.dispose();
  for (const { handle } of outputs) handle.dispose();
  results.forEach((dx, i) => {
    const input = node.inputs[i];
    if (input && dx) deliver(input, dx, dy, gradients);
  });
}

/** A leaf's gradient buffer that a kernel may add to in place. */
function intoLeaf(input: Node | undefined, createGraph: boolean): Tensor | undefined {
  if (createGraph || !(input instanceof LeafNode)) return undefined;
  const { grad } = input.tensor;
  return grad && grad.dtype === "f32" && !grad.disposed ? grad : undefined;
}

/** Adds `dx` to what the node has so far. A gradient that is `dy` itself, or shared by two inputs, gets a handle of its own. */
function deliver(input: Node, dx: Tensor, dy: Tensor, gradients: Map<Node, Tensor>): void {
  const before = gradients.get(input);
  const shared = dx === dy || [...gradients.values()].includes(dx);
  if (!before) {
    gradients.set(input, shared ? aliasWithNode(dx) : dx.keep());
    return;
  }
  gradients.set(
    input,
    unscoped(() => arithmetic.add(before, dx)),
  );
  before.dispose();
  if (!shared) dx.dispose();
}

function aliasWithNode(tensor: Tensor): Tensor {
  const handle = tensor.alias().keep();
  return tensor.node ? handle.attach(tensor.node) : handle;
}

/** Adds `dy` to the leaf's `.grad`, in place where there is one. Takes `dy` over. */
function accumulate(leaf: Tensor, dy: Tensor, createGraph: boolean): void {
  if (leaf.disposed) {
    dy.dispose();
  } else if (!leaf.grad) {
    const own = dy.shared && !createGraph ? unscoped(() => arithmetic.copy(dy)) : dy.keep();
    if (own !== dy) dy.dispose();
    own.name = `${leaf.name}.grad`;
    leaf.grad = own;
  } else if (createGraph) {
    leaf.grad = unscoped(() => arithmetic.add(leaf.grad as Tensor, dy));
  } else {
    arithmetic.addInto(leaf.grad, dy);
    dy.dispose();
  }
}
