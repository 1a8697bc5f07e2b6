import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";

/**
 * One AdamW step over a flat buffer, with decoupled weight decay and bias correction. `control` is { gradient's scale, norm, whether
 * the step counts, updates so far }: a step that does not count changes nothing. Loshchilov & Hutter 2017, arXiv:1711.05101
 */
export const adamw = kernel({
  name: "adamw",
  bindings: { p: "update", g: "read", m: "update", v: "update", control: "read" },
  uniforms: { n: "u32", learningRate: "f32", beta1: "f32", beta2: "f32", eps: "f32", weightDecay: "f32" },
  workgroups: (_: Record<never, never>, __, { n }) => (n === 0 ? [0] : linearWorkgroups(Math.ceil(n / 64))),
  cost: (_, { n }) => ({ flops: 14 * n, bytes: 28 * n }),
  wgsl: () => `
    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let i = ${linearIndex.group} * 64u + lane;
      if (i >= u.n || control[2] == 0.0) { return; }
      let gradient = g[i] * control[0];
      let first = u.beta1 * m[i] + (1.0 - u.beta1) * gradient;
      let second = u.beta2 * v[i] + (1.0 - u.beta2) * gradient * gradient;
      m[i] = first;
      v[i] = second;
      let unbias1 = 1.0 - pow(u.beta1, control[3]);
      let unbias2 = sqrt(1.0 - pow(u.beta2, control[3]));
      p[i] = p[i] * (1.0 - u.learningRate * u.weightDecay) - u.learningRate / unbias1 * first / (sqrt(second) / unbias2 + u.eps);
    }`,
});
