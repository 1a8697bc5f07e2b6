import { kernel, linearIndex, linearWorkgroups } from "../framework/device/kernel.ts";

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
    fn wide(a: u32, b: u32) -> vec2u { // low and high word of a product
      let al = a & 0xffffu; let ah = a >> 16u; let bl = b & 0xffffu; let bh = b >> 16u;
      let low = al * bl;
      let middle = ah * bl + (low >> 16u);
      let cross = al * bh + (middle & 0xffffu);
      return vec2u((cross << 16u) | (low & 0xffffu), ah * bh + (middle >> 16u) + (cross >> 16u));
    }

    fn philox(counter: vec4u) -> vec4u {
      var c = counter;
      var key = vec2u(u.seedLow, u.seedHigh);
      for (var round = 0; round < 10; round++) {
        let p = wide(0xD2511F53u, c.x);
        let q = wide(0xCD9E8D57u, c.z);
        c = vec4u(q.y ^ c.y ^ key.x, q.x, p.y ^ c.w ^ key.y, p.x);
        key += vec2u(0x9E3779B9u, 0xBB67AE85u);
      }
      return c;
    }

    @compute @workgroup_size(64)
    fn main(${linearIndex.params}) {
      let i = ${linearIndex.group} * 64u + lane;
      if (i * 4u >= u.n) { return; }
      let bits = philox(vec4u(i, 0u, u.drawLow, u.drawHigh));
      let unit = vec4f(bits >> vec4u(8u)) * 5.9604645e-8; // 24 bits: [0, 1)
      ${distribution === "uniform" ? "let four = unit;" : normal}
      for (var k = 0u; k < min(4u, u.n - i * 4u); k++) { y[i * 4u + k] = four[k]; }
    }`,
});

const normal = `
      let radius = sqrt(-2.0 * log(1.0 - unit.xz));
      let angle = 6.2831855 * unit.yw;
      let four = vec4f(radius.x * cos(angle.x), radius.x * sin(angle.x), radius.y * cos(angle.y), radius.y * sin(angle.y));`;
