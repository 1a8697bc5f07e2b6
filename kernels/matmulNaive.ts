import { kernel } from "../framework/device/kernel.ts";
import type { MatmulShape } from "./matmul.ts";

/**
 * C = alpha · op(A) · op(B) as it is defined, a lane per element of C: what {@link matmul} must equal, and where to begin
 * reading. It takes the launches that `matmulLaunch` makes. Every multiplication waits for two loads; that is what the
 * fast kernels do away with.
 */
export const matmulNaive = kernel<MatmulShape>({
  name: "matmulNaive",
  bindings: ({ accumulate, bias, residual }) => ({
    a: "read",
    b: "read",
    c: accumulate ? "update" : "write",
    ...(bias ? { bias: "read" } : {}),
    ...(residual ? { residual: "read" } : {}),
  }),
  types: ({ a, b, c }) => ({ a, b, c, bias: "f32", residual: c }),
  uniforms: { m: "u32", n: "u32", k: "u32", batch: "u32", strideA: "u32", strideB: "u32", alpha: "f32" },
  workgroups: (_, __, { m, n, batch }) => [Math.ceil(n / 8), Math.ceil(m / 8), batch],
  cost: (_, { m, n, k, batch }) => ({ flops: 2 * m * n * k * batch, bytes: 4 * batch * (m * k + k * n + m * n) }),
  wgsl: ({ layout, c, accumulate, bias, residual }) => `
    @compute @workgroup_size(8, 8)
    fn main(@builtin(global_invocation_id) id: vec3u) {
      let row = id.y;
      let column = id.x;
      if (row >= u.m || column >= u.n) { return; }
      let a0 = id.z * u.strideA;
      let b0 = id.z * u.strideB;
      var sum = 0.0;
      for (var i = 0u; i < u.k; i++) {
        let left = f32(a[a0 + ${layout === "TN" ? "i * u.m + row" : "row * u.k + i"}]);
        let right = f32(b[b0 + ${layout === "NT" ? "column * u.k + i" : "i * u.n + column"}]);
        sum += left * right;
      }
      let at = (id.z * u.m + row) * u.n + column;
      c[at] = ${c}(u.alpha * sum${bias ? " + bias[column]" : ""}${residual ? " + f32(residual[at])" : ""}${accumulate ? " + f32(c[at])" : ""});
    }`,
});
