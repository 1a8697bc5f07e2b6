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
  if (!isRecording()) return fn(...inputs);
  const random = randomState();
  const y = noGrad(() => scope(() => fn(...inputs)));
  const saved: Saved = { inputs: inputs.map((x) => x.alias().keep()) };
  const again = (dy: Tensor, { inputs: kept }: Saved): (Tensor | null)[] => {
    const now = randomState();
    setRandomState(random);
    const leaves = (kept as Tensor[]).map((x, i) => {
      const leaf = x.alias();
      leaf.requiresGrad = nodes[i] !== undefined;
      return leaf;
    });
    withRecording(true, () => {
      const value = fn(...leaves);
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
  return y.attach(new OpNode("checkpoint", nodes, saved, again, false, []));
}
