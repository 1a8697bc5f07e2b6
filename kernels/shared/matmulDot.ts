import type { MatmulShape } from "../matmul.ts";

/**
 * For few rows of a (decoding): `lanes` lanes walk one column of the result along k together, all rows of a at once, so that
 * b, which is the most of the bytes, is read once and in order.
 */
export function dotSource({ a, vecA, vecB, c, accumulate, bias, few }: MatmulShape, lanes: number): string {
  const rows = Array.from({ length: few }, (_, r) => r);
  const wide = vecA && vecB;
  const element = (name: string, is4: boolean, at: string) =>
    !is4 ? `f32(${name}[${at}])` : `f32(${name}[(${at}) / 4u][(${at}) % 4u])`;
  const loop = wide
    ? `for (var k = lane; k < u.k / 4u; k += ${lanes}u) {
        let y = vec4f(b[(wg.z * u.strideB + column * u.k) / 4u + k]);
        ${rows.map((r) => `s${r} += dot(vec4f(a[(wg.z * u.strideA + row${r} * u.k) / 4u + k]), y);`).join("\n        ")}
      }`
    : `for (var k = lane; k < u.k; k += ${lanes}u) {
        let y = ${element("b", vecB, "wg.z * u.strideB + column * u.k + k")};
        ${rows.map((r) => `s${r} += ${element("a", vecA, `wg.z * u.strideA + row${r} * u.k + k`)} * y;`).join("\n        ")}
      }`;
  return `
    var<workgroup> joined: array<array<f32, ${lanes}>, ${few}>; // ${a} rows

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) wgs: vec3u, @builtin(local_invocation_index) lane: u32) {
      let column = wg.x + wg.y * wgs.x;
      if (column >= u.n) { return; }
      ${rows.map((r) => `var s${r} = 0.0; let row${r} = min(${r}u, u.m - 1u);`).join(" ")}
      ${loop}
      ${rows.map((r) => `joined[${r}][lane] = s${r};`).join(" ")}
      for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { ${rows.map((r) => `joined[${r}][lane] += joined[${r}][lane + half];`).join(" ")} }
      }
      workgroupBarrier();
      for (var r = lane; r < u.m; r += ${lanes}u) {
        let at = (wg.z * u.m + r) * u.n + column;
        let sum = joined[r][0] * u.alpha${bias ? " + bias[column]" : ""};
        c[at] = ${c}(${accumulate ? "f32(c[at]) + sum" : "sum"});
      }
    }`;
}
