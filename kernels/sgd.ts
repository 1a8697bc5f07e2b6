import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";

/** One step of SGD with momentum over a flat buffer, PyTorch's way: v = momentum · v + g (v = g at first), p -= lr · v. `control` as in adamw. */
export const sgd = kernel({
  name: "sgd",
  bindings: { p: "update", g: "read", v: "update", control: "read" },
  uniforms: { n: "u32", learningRate: "f32", momentum: "f32", weightDecay: "f32" },
  workgroups: (_: Record<never, never>, __, { n }) => (n === 0 ? [0] : linearWorkgroups(Math.ceil(n / 64))),
  cost: (_, { n }) => ({ flops: 6 * n, bytes: 20 * n }),
  wgsl: () => `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let i = ${linearIndex.group} * 64u + lane;
      if (i >= u.n || control[2] == 0.0) { return; }
      let gradient = g[i] * control[0] + u.weightDecay * p[i];
      let velocity = select(u.momentum * v[i] + gradient, gradient, control[3] == 1.0);
      v[i] = velocity;
      p[i] -= u.learningRate * velocity;
    }`,
});
