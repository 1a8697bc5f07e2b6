import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";
import type { MatmulShape } from "./matmul.ts";
import { epilogueBindings, range, store } from "./shared/matmulParts.ts";

/** A product's shape, and how many workgroups shared its k. */
export interface MatmulJoinShape extends MatmulShape {
  split: number;
}

const LANES = 64;

/** C = alpha · (the sum of parts [split, batch, m, n], first to last) (+ bias) (+ residual) (+ C): the second half of a `matmul` whose k was split. */
export const matmulJoin = kernel({
  name: "matmulJoin",
  bindings: (shape: MatmulJoinShape) => ({ parts: "read", ...epilogueBindings(shape) }),
  types: ({ c, wideC }) => {
    const as = (type: Scalar) => (wideC ? `vec4<${type}>` : type);
    return { parts: as("f32"), c: as(c), bias: as("f32"), residual: as(c) };
  },
  uniforms: { m: "u32", n: "u32", batch: "u32", strideC: "u32", alpha: "f32" },
  workgroups: (_, __, { m, n, batch }) =>
    m * n * batch === 0 ? [0] : linearWorkgroups(Math.ceil((batch * m * Math.ceil(n / 4)) / LANES)),
  cost: ({ split }, { m, n, batch }) => ({ flops: split * batch * m * n, bytes: 4 * (split + 1) * batch * m * n }),
  wgsl: (shape) => {
    const { split, wideC } = shape;
    const four = range(4).map((i) => `parts[at + min(${i}u, n - 1u - column)]`);
    return `
    ${store(shape)}

    @compute @workgroup_size(${LANES})
    fn main(${linearIndex.params}) {
      let m = u.m; let n = u.n;
      let strips = (n + 3u) / 4u;
      let i = ${linearIndex.group} * ${LANES}u + lane;
      let row = i / strips;
      if (row >= u.batch * m) { return; }
      let column = i % strips * 4u;
      var sum = vec4f();
      for (var part = 0u; part < ${split}u; part++) {
        let at = (part * u.batch * m + row) * n + column;
        sum += ${wideC ? "parts[at >> 2u]" : `vec4f(${four.join(", ")})`};
      }
      store(row % m, column, row / m, m, n, sum);
    }`;
  },
});
