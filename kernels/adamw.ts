import { kernel } from "../framework/device/kernel.ts";
import { eachItem, type ItemTuning, itemSpace, itemWorkgroups } from "./shared/items.ts";

interface AdamwTuning extends ItemTuning {
  wide: number;
}

/**
 * One AdamW step over a flat buffer, with decoupled weight decay and bias correction. `control` is { gradient's scale, norm, whether
 * the step counts, updates so far }: a step that does not count changes nothing. Loshchilov & Hutter 2017, arXiv:1711.05101
 */
export const adamw = kernel<Record<never, never>, AdamwTuning>({
  name: "adamw",
  bindings: { p: "update", g: "read", m: "update", v: "update", control: "read" },
  types: (_, { wide }) => {
    const type = wide ? "vec4f" : "f32";
    return { p: type, g: type, m: type, v: type };
  },
  uniforms: { n: "u32", learningRate: "f32", beta1: "f32", beta2: "f32", eps: "f32", weightDecay: "f32" },
  sizes: ["n"],
  ...itemSpace,
  tuning: itemSpace.tuning.map((family) => ({ wide: [1, 0], ...family })),
  pick: (shape, target) => ({ wide: 1, ...itemSpace.pick(shape, target) }),
  workgroups: (_, tuning, { n }) => itemWorkgroups(n / (tuning.wide ? 4 : 1), tuning),
  cost: (_, { n }) => ({ flops: 14 * n, bytes: 28 * n }),
  wgsl: (_, tuning) => {
    const { wide } = tuning;
    // A buffer ends with a whole vector; what lies behind n keeps its value.
    const store = (to: string, value: string) =>
      wide ? `${to}[i] = select(${to}[i], ${value}, vec4u(0, 1, 2, 3) + i * 4u < vec4u(u.n));` : `${to}[i] = ${value};`;
    return eachItem(
      tuning,
      "n",
      `
      if (i${wide ? " * 4u" : ""} >= u.n || control[2] == 0.0) { return; }
      let gradient = g[i] * control[0];
      let first = u.beta1 * m[i] + (1.0 - u.beta1) * gradient;
      let second = u.beta2 * v[i] + (1.0 - u.beta2) * gradient * gradient;
      let unbias1 = 1.0 - pow(u.beta1, control[3]);
      let unbias2 = sqrt(1.0 - pow(u.beta2, control[3]));
      let next = p[i] * (1.0 - u.learningRate * u.weightDecay) - u.learningRate / unbias1 * first / (sqrt(second) / unbias2 + u.eps);
      ${store("m", "first")}
      ${store("v", "second")}
      ${store("p", "next")}`,
    );
  },
});
