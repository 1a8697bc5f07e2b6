import { kernel } from "../framework/device/kernel.ts";

/**
 * Decides a step on the device, without a read: from the squared norms of the gradient's parts [n] and the loss (or any finite
 * number) it sets `control` to { scale that clips the global norm, norm, 1 if loss and norm are finite, updates so far }.
 */
export const clip = kernel({
  name: "clip",
  bindings: { squares: "read", loss: "read", control: "update" },
  uniforms: { n: "u32", maxNorm: "f32" },
  workgroups: () => [1],
  cost: (_: Record<never, never>, { n }) => ({ flops: n, bytes: 4 * n }),
  wgsl: () => `
    fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

    @compute @workgroup_size(1)
    fn main() {
      var sum = 0.0;
      for (var i = 0u; i < u.n; i++) { sum += squares[i]; }
      let norm = sqrt(sum);
      let counts = finite(sum) && finite(loss[0]);
      control[0] = select(1.0, u.maxNorm / (norm + 1e-6), u.maxNorm > 0.0 && norm + 1e-6 > u.maxNorm);
      control[1] = norm;
      control[2] = select(0.0, 1.0, counts);
      if (counts) { control[3] += 1.0; }
    }`,
});
