import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";
import { philox } from "./shared/philox.ts";

export interface RandomShape {
  [name: string]: string;
  distribution: "uniform" | "normal";
}

/**
 * Counter-based random numbers: Philox4x32-10 of (element, draw) under a 64-bit seed, so that the same draw gives the same
 * numbers on any adapter's layout of lanes. Uniform in [0, 1), or normal by Box and Muller. Salmon et al. 2011, doi:10.1145/2063384.2063405
 */
export const random = kernel({
  name: "random",
  bindings: { y: "write" },
  uniforms: { n: "u32", seedLow: "u32", seedHigh: "u32", drawLow: "u32", drawHigh: "u32" },
  workgroups: (_: RandomShape, __, { n }) => (n === 0 ? [0] : linearWorkgroups(Math.ceil(n / 4 / 64))),
  cost: (_, { n }) => ({ flops: 40 * n, bytes: 4 * n }),
  wgsl: ({ distribution }) => `
    ${philox}

    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let i = ${linearIndex.group} * 64u + lane;
      if (i * 4u >= u.n) { return; }
      let bits = philox(vec4u(i, 0u, u.drawLow, u.drawHigh), vec2u(u.seedLow, u.seedHigh));
      let unit = vec4f(bits >> vec4u(8u)) * 5.9604645e-8; // 24 bits: [0, 1)
      ${distribution === "uniform" ? "let four = unit;" : normal}
      for (var k = 0u; k < min(4u, u.n - i * 4u); k++) { y[i * 4u + k] = four[k]; }
    }`,
});

const normal = `
      let radius = sqrt(-2.0 * log(1.0 - unit.xz));
      let angle = 6.2831855 * unit.yw;
      let four = vec4f(radius.x * cos(angle.x), radius.x * sin(angle.x), radius.y * cos(angle.y), radius.y * sin(angle.y));`;
