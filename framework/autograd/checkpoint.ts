import { randomState, setRandomState } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { backward } from "./backward.ts";
import { isRecording, nodeOf, noGrad, OpNode, type Saved, withRecording } from "./graph.ts";

/**
 * Runs `fn` keeping only its inputs; the backward pass runs it again to get its gradient. Parameters that `fn` uses get theirs
 * as always. Random numbers are drawn again as they were. Chen et al. 2016, arXiv:1604.06174
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  return checkpointAll((...given) => [fn(...given)], ...inputs)[0];
}

/** The same for several results. What is differentiated must depend on the first. */
export function checkpointAll(fn: (...inputs: Tensor[]) => readonly Tensor[], ...inputs: Tensor[]): readonly Tensor[] {
  if (!isRecording()) return fn(...inputs);
  const random = randomState();
  const [y, ...others] = noGrad(() => scope(() => fn(...inputs)));
  const saved: Saved = { inputs: inputs.map((x) => x.alias().keep()) };
  const given: (Tensor | undefined)[] = []; // gradients of the other results, which come before the first one's
  const again = (dy: Tensor, { inputs: kept }: Saved): (Tensor | null)[] => {
    const now = randomState();
    setRandomState(random);
    const leaves = (kept as Tensor[]).map((x, i) => {
      const leaf = x.alias();
      leaf.requiresGrad = nodes[i] !== undefined;
      return leaf;
    });
    withRecording(true, () => {
      const value = together(fn(...leaves), given);
      if (nodeOf(value)) backward(value, { gradient: dy }); // nothing in it may want a gradient
    });
    setRandomState(now);
    return leaves.map((leaf) => {
      const { grad } = leaf;
      leaf.grad = undefined;
      return grad ?? null;
    });
  };
  const nodes = inputs.map(nodeOf);
  y.attach(new OpNode("checkpoint", nodes, saved, again, false, []));
  return [y, ...others.map((other, i) => noted(other, y, (dy) => (given[i] = dy)))];
}

/** A result whose gradient `note` takes, before that of `first` is computed. */
function noted(other: Tensor, first: Tensor, note: (dy: Tensor) => void): Tensor {
  const gradient = (dy: Tensor) => {
    note(dy.alias().keep());
    return [null];
  };
  return other.attach(new OpNode("checkpoint", [nodeOf(first)], {}, gradient, false, []));
}

/** The first of the results, with the others' gradients on its own's way. */
function together([y, ...others]: readonly Tensor[], given: (Tensor | undefined)[]): Tensor {
  if (others.length === 0) return y;
  const gradient = (dy: Tensor) => [dy, ...others.map((_, i) => given[i])];
  return y.alias().attach(new OpNode("checkpoint", [y, ...others].map(nodeOf), {}, gradient, false, []));
}
