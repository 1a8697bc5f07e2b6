import { kernel } from "../framework/device/kernel.ts";

export interface ClipShape {
  [name: string]: boolean;
  /** The gradients come multiplied by a scale, which this step settles anew. */
  scaled: boolean;
}

/** Steps without overflow after which the scale doubles. */
export const GROW_AFTER = 2000;
const [LEAST, MOST] = [1, 2 ** 24];

/**
 * Decides a step on the device, without a read: from the squared norms of the gradient's parts [n] and the loss (or any finite
 * number) it sets `control` to { factor for the gradient that clips its global norm, norm, 1 if loss and norm are finite, updates so far }.
 * With `scaled`, `scaler` is { the gradients' scale, counted steps since it changed, steps lost to overflow, 1 if this one was }: norm
 * and factor are of the gradient without it; it halves when a step does not count and doubles after {@link GROW_AFTER} that do, as
 * torch.amp.GradScaler does. Micikevicius et al. 2017, arXiv:1710.03740
 */
export const clip = kernel({
  name: "clip",
  bindings: ({ scaled }: ClipShape) => ({
    squares: "read",
    loss: "read",
    control: "update",
    ...(scaled ? { scaler: "update" as const } : {}),
  }),
  uniforms: { n: "u32", maxNorm: "f32" },
  workgroups: () => [1],
  cost: (_, { n }) => ({ flops: n, bytes: 4 * n }),
  wgsl: ({ scaled }) => `
    fn finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }

    @compute @workgroup_size(1)
    fn main() {
      var sum = 0.0;
      for (var i = 0u; i < u.n; i++) { sum += squares[i]; }
      let norm = sqrt(sum)${scaled ? " / scaler[0]" : ""};
      let counts = finite(sum) && finite(loss[0]);
      let factor = select(1.0, u.maxNorm / (norm + 1e-6), u.maxNorm > 0.0 && norm + 1e-6 > u.maxNorm);
      control[0] = factor${scaled ? " / scaler[0]" : ""};
      control[1] = norm;
      control[2] = select(0.0, 1.0, counts);
      if (counts) { control[3] += 1.0; }
      ${scaled ? rescale : ""}
    }`,
});

const rescale = `
      let lost = !counts && finite(loss[0]);
      scaler[3] = select(0.0, 1.0, lost);
      if (counts) {
        scaler[1] += 1.0;
        if (scaler[1] >= ${GROW_AFTER}.0) { scaler[0] = min(scaler[0] * 2.0, ${MOST}.0); scaler[1] = 0.0; }
      } else if (lost) {
        scaler[0] = max(scaler[0] * 0.5, ${LEAST}.0);
        scaler[1] = 0.0;
        scaler[2] += 1.0;
      }`;
