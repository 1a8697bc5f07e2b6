import type { MatmulShape } from "../matmul.ts";

/**
 * For CPUs (llvmpipe): a subgroup makes `lanes · rows` rows of 4 · lanes columns. A lane owns `rows` rows; a piece of b's row lies
 * across the lanes, a vec4 each, and is handed round by subgroupBroadcast. Every load there costs the same whether lanes share it
 * or not, so this has the fewest loads a multiply-add of all that were tried.
 */
export function broadcastSource(shape: MatmulShape, rows: number, lanes: number): string {
  const { layout, accumulate, bias, vecC, c } = shape;
  const own = Array.from({ length: rows }, (_, r) => r);
  const parts = Array.from({ length: lanes }, (_, j) => j);
  const four = [0, 1, 2, 3];
  const step = (i: number, a: (r: number) => string) => `{
          let y = ${pieceOfB(shape, i)};
          ${parts.map((j) => `{ let p = subgroupBroadcast(y, ${j}u); ${own.map((r) => `s${r}_${j} += ${a(r)} * p;`).join(" ")} }`).join("\n          ")}
        }`;
  return `
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) wg: vec3u, @builtin(local_invocation_index) lane: u32) {
      let first = wg.x * ${4 * lanes}u;
      let column = first + lane * 4u; // the first of the four of b's columns that this lane loads
      ${own.map((r) => `let row${r} = wg.y * ${rows * lanes}u + ${layout === "TN" ? `lane * ${rows}u + ${r}u` : `lane + ${r * lanes}u`}; let in${r} = min(row${r}, u.m - 1u);`).join("\n      ")}
      ${columnClamps(shape)}
      ${own.map((r) => parts.map((j) => `var s${r}_${j} = vec4f();`).join(" ")).join("\n      ")}
      for (var k = 0u; k < u.k; k += 4u) {
        ${layout === "TN" ? "" : own.map((r) => `let a${r} = ${rowOfA(shape, r)};`).join(" ")}
        ${fourRowsOfB(shape)}
        ${four.map((i) => step(i, (r) => (layout === "TN" ? `${columnOfA(shape, r, i)}` : `a${r}[${i}]`))).join("\n        ")}
      }
      ${own.map((r) => `if (row${r} < u.m) { let at = (wg.z * u.m + row${r}) * u.n + first; ${parts.map((j) => store(r, j)).join(" ")} }`).join("\n      ")}
    }`;

  function store(r: number, j: number): string {
    const value = `s${r}_${j} * u.alpha`;
    const column = `first + ${4 * j}u`;
    if (vecC) {
      const at = `at / 4u + ${j}u`;
      const sum = `${value}${bias ? ` + vec4f(${four.map((i) => `bias[${column} + ${i}u]`).join(", ")})` : ""}`;
      return `if (${column} < u.n) { c[${at}] = vec4<${c}>(${accumulate ? `vec4f(c[${at}]) + ` : ""}${sum}); }`;
    }
    const each = four.map((i) => {
      const at = `at + ${4 * j + i}u`;
      const sum = `v[${i}]${bias ? ` + bias[${column} + ${i}u]` : ""}`;
      return `if (${column} + ${i}u < u.n) { c[${at}] = ${c}(${accumulate ? `f32(c[${at}]) + ` : ""}${sum}); }`;
    });
    return `{ let v = ${value}; ${each.join(" ")} }`;
  }
}

/** Four of a's row along k, zero past its end. */
function rowOfA({ vecA, a }: MatmulShape, r: number): string {
  const at = `wg.z * u.strideA + in${r} * u.k + k`;
  if (vecA) return a === "f32" ? `a[(${at}) / 4u]` : `vec4f(a[(${at}) / 4u])`;
  return `vec4f(${[0, 1, 2, 3].map((i) => `select(0.0, f32(a[${at} + ${i}u]), k + ${i}u < u.k)`).join(", ")})`;
}

/** One element of aᵀ's row, zero past k's end. */
function columnOfA({ vecA }: MatmulShape, r: number, i: number): string {
  const at = `wg.z * u.strideA + (k + ${i}u) * u.m + in${r}`;
  const value = vecA ? `f32(a[(${at}) / 4u][(${at}) % 4u])` : `f32(a[${at}])`;
  return `select(0.0, ${value}, k + ${i}u < u.k)`;
}

/** Columns outside b read the last ones inside. */
function columnClamps({ layout, vecB }: MatmulShape): string {
  if (layout === "NT" || !vecB)
    return [0, 1, 2, 3].map((i) => `let column${i} = min(column + ${i}u, u.n - 1u);`).join(" ");
  return "let columnIn = min(column, u.n - 4u) / 4u;";
}

/** bᵀ is read along k: four columns' vec4s now, turned by \`pieceOfB\`. */
function fourRowsOfB({ layout, vecB }: MatmulShape): string {
  if (layout !== "NT") return "";
  return [0, 1, 2, 3]
    .map((i) => {
      const at = `wg.z * u.strideB + column${i} * u.k + k`;
      const value = vecB
        ? `vec4f(b[(${at}) / 4u])`
        : `vec4f(${[0, 1, 2, 3].map((j) => `select(0.0, f32(b[${at} + ${j}u]), k + ${j}u < u.k)`).join(", ")})`;
      return `let y${i} = ${value};`;
    })
    .join(" ");
}

/** This lane's four of b's row k + i. */
function pieceOfB({ layout, vecB }: MatmulShape, i: number): string {
  if (layout === "NT") return `vec4f(y0[${i}], y1[${i}], y2[${i}], y3[${i}])`;
  const row = `min(k + ${i}u, u.k - 1u)`;
  if (vecB) return `vec4f(b[(wg.z * u.strideB + ${row} * u.n) / 4u + columnIn])`;
  return `vec4f(${[0, 1, 2, 3].map((j) => `f32(b[wg.z * u.strideB + ${row} * u.n + column${j}])`).join(", ")})`;
}
