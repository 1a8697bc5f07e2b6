import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { bounds, range, store, strips } from "./matmulParts.ts";

/**
 * For few rows of A against B [n, k], as in decoding: the workgroup's lanes walk four columns of C along k together, all
 * rows at once, so that B, which is nearly all of the bytes, is read once and in order; then they join their sums, by
 * shuffles where the workgroup is one subgroup.
 */
export function dotMatmul(shape: MatmulShape, { lanes, shuffle }: MatmulTuning): string {
  const rows = range(shape.few);
  const dots = (r: number) => `vec4f(${range(4).map((i) => `dot(a${r}, b${i})`)})`;
  return `
    ${strips(shape)}
    ${store(shape)}
    ${shuffle ? "" : `var<workgroup> joined: array<array<vec4f, ${lanes}>, ${shape.few}>;`}

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
            @builtin(${shuffle ? "subgroup_invocation_id" : "local_invocation_index"}) lane: u32) {
      ${bounds(shape, "group.z")}
      let column = (group.x + group.y * groups.x) * 4u;
      if (column >= n) { return; }
      ${range(4)
        .map((i) => `let lineB${i} = startB + min(column + ${i}u, n - 1u) * k;`)
        .join(" ")}
      ${rows.map((r) => `let lineA${r} = startA + min(${r}u, m - 1u) * k;`).join(" ")}
      ${rows.map((r) => `var sum${r} = vec4f();`).join(" ")}
      for (var at = lane * 4u; at < k; at += ${lanes * 4}u) {
        ${range(4)
          .map((i) => `let b${i} = stripB(lineB${i}, at, k);`)
          .join(" ")}
        ${rows.map((r) => `let a${r} = stripA(lineA${r}, at, k); sum${r} += ${dots(r)};`).join("\n        ")}
      }
      ${shuffle ? shuffled(rows, lanes) : throughMemory(rows, lanes)}
    }`;
}

function shuffled(rows: number[], lanes: number): string {
  const steps = range(Math.log2(lanes)).map((i) => 2 ** i);
  const joins = rows.flatMap((r) => steps.map((step) => `sum${r} += subgroupShuffleXor(sum${r}, ${step}u);`));
  return `${joins.join(" ")}
      ${rows.map((r) => `if (lane == ${r}u) { store(${r}u, column, group.z, m, n, sum${r}); }`).join(" ")}`;
}

function throughMemory(rows: number[], lanes: number): string {
  return `${rows.map((r) => `joined[${r}][lane] = sum${r};`).join(" ")}
      for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { ${rows.map((r) => `joined[${r}][lane] += joined[${r}][lane + half];`).join(" ")} }
      }
      workgroupBarrier();
      if (lane < ${rows.length}u) { store(lane, column, group.z, m, n, joined[lane][0]); }`;
}
