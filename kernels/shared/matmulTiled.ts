import type { MatmulShape } from "../matmul.ts";

/**
 * For GPUs: a workgroup of 16 × 16 lanes makes a tile of 64 × 64, each lane 4 × 4, from pieces of 16 along k that the
 * workgroup loads into shared memory together. What lies outside the matrices is loaded as zero.
 */
export function tiledSource({ layout, c, accumulate, bias }: MatmulShape): string {
  const four = [0, 1, 2, 3];
  // Neighbouring lanes load neighbours in memory: along k for a and bᵀ, along the tile's side for aᵀ and b.
  const alongK = (e: string) => `let side = (${e}) / 16u; let depth = (${e}) % 16u;`;
  const alongSide = (e: string) => `let side = (${e}) % 64u; let depth = (${e}) / 64u;`;
  return `
    var<workgroup> tileA: array<array<f32, 68>, 16>; // 64 and a pad, so that columns fall into different banks
    var<workgroup> tileB: array<array<f32, 68>, 16>;

    @compute @workgroup_size(16, 16)
    fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32) {
      let row0 = wg.y * 64u;
      let column0 = wg.x * 64u;
      ${four.map((i) => `var s${i} = vec4f();`).join(" ")}
      for (var k0 = 0u; k0 < u.k; k0 += 16u) {
        for (var e = 0u; e < 4u; e++) {
          { ${(layout === "TN" ? alongSide : alongK)("lane + e * 256u")}
            let row = row0 + side; let k = k0 + depth;
            var v = 0.0;
            if (row < u.m && k < u.k) { v = f32(a[wg.z * u.strideA + ${layout === "TN" ? "k * u.m + row" : "row * u.k + k"}]); }
            tileA[depth][side] = v; }
          { ${(layout === "NT" ? alongK : alongSide)("lane + e * 256u")}
            let column = column0 + side; let k = k0 + depth;
            var v = 0.0;
            if (column < u.n && k < u.k) { v = f32(b[wg.z * u.strideB + ${layout === "NT" ? "column * u.k + k" : "k * u.n + column"}]); }
            tileB[depth][side] = v; }
        }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) {
          let x = vec4f(${four.map((i) => `tileB[k][id.x * 4u + ${i}u]`).join(", ")});
          ${four.map((i) => `s${i} += tileA[k][id.y * 4u + ${i}u] * x;`).join("\n          ")}
        }
        workgroupBarrier();
      }
      ${four.map((i) => `{ let row = row0 + id.y * 4u + ${i}u; let s = s${i} * u.alpha; if (row < u.m) { ${four.map((j) => store(`column0 + id.x * 4u + ${j}u`, `s[${j}]`)).join(" ")} } }`).join("\n      ")}
    }`;

  function store(column: string, value: string): string {
    const sum = `${value}${bias ? ` + bias[${column}]` : ""}`;
    const at = `(wg.z * u.m + row) * u.n + ${column}`;
    return `if (${column} < u.n) { c[${at}] = ${c}(${accumulate ? `f32(c[${at}]) + ` : ""}${sum}); }`;
  }
}
