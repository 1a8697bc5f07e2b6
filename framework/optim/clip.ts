import { noGrad } from "../autograd/graph.ts";
import { updateInPlace } from "../ops/elementwise.ts";
import { sumSquares } from "../ops/reduce.ts";
import { stack } from "../ops/shape.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * torch.nn.utils.clip_grad_norm_: scales the gradients so that their global norm is `maxNorm` at most. (Optimizers do it within
 * their step by `{clip}`, in fewer launches.)
 * @returns the norm before, one f32
 */
export function clipGradNorm(parameters: Iterable<Tensor>, maxNorm: number): Tensor {
  const gradients = [...parameters].flatMap((p) => p.grad ?? []);
  return noGrad(() =>
    scope(() => {
      const norm = stack(gradients.map(sumSquares)).sum().sqrt();
      const scale = norm.add(1e-6).pow(-1).mul(maxNorm).clamp({ max: 1 });
      for (const g of gradients) updateInPlace("old * a", g, [scale.reshape(1).expand([g.size]).reshape(g.shape)]);
      return norm;
    }),
  );
}
