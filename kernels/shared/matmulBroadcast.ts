import type { MatmulShape, MatmulTuning } from "../matmul.ts";
import { bounds, range, store, strips } from "./matmulParts.ts";

/**
 * A subgroup computes `rows` × 4 · `lanes` of C: every lane has four columns of all rows, holds its own part of B and
 * gets A's elements from the lane that loaded them. Per four steps along k that is four loads of B and rows / lanes of A.
 */
export function broadcastMatmul(shape: MatmulShape, { rows, lanes }: MatmulTuning): string {
  const a = shape.layout === "TN" ? downA(shape, rows, lanes) : alongA(rows, lanes);
  const b = shape.layout === "NT" ? alongB() : downB(shape);
  // The same sum in two orders: LLVM keeps more of it in registers so, measured for each layout.
  const multiply = (r: number) => {
    const terms = range(4).map((kk) => `${a.element(r, kk)} * b${kk}`);
    if (shape.layout === "NN") return `${a.announce(r)} sum${r} += ${terms.join(" + ")};`;
    return `${a.announce(r)} ${terms.map((term) => `sum${r} += ${term};`).join(" ")}`;
  };
  return `
    ${strips(shape, "f32", true)}
    ${store(shape)}
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
      ${bounds(shape, "group.z")}
      let row = group.y * ${rows}u;
      let column = (group.x * ${lanes}u + lane) * 4u;
      ${a.begin}
      ${b.begin}
      ${range(rows)
        .map((r) => `var sum${r} = vec4f();`)
        .join(" ")}
      for (var at = 0u; at < k; at += 4u) {
        ${a.load}
        ${b.load}
        ${a.spread}
        ${range(rows).map(multiply).join("\n        ")}
      }
      ${storeRows(rows)}
    }`;
}

/**
 * Stores go through a loop that makes four at a time: with its branch for every element a store is long in machine code, and 32 of
 * them took longer to compile than the products.
 */
function storeRows(rows: number): string {
  const together = Math.min(rows, 4);
  const chosen = (i: number) =>
    range(rows / together)
      .map((q) => `sum${q * together + i}`)
      .reduce((before, sum, q) => `select(${before}, ${sum}, q == ${q}u)`);
  return `
      let zero = m >> 31u; // which the compiler can't know: the loop stays one
      for (var q = 0u; q < ${rows / together}u + zero; q++) {
        ${range(together)
          .map((i) => `store(row + q * ${together}u + ${i}u, column, group.z, m, n, ${chosen(i)});`)
          .join(" ")}
      }`;
}

/** A [m, k]: a lane loads four steps of one row. */
function alongA(rows: number, lanes: number) {
  const loads = range(Math.ceil(rows / lanes));
  return {
    begin: loads
      .map((i) => `let lineA${i} = startA + min(row + ${i * lanes}u + lane % ${Math.min(rows, lanes)}u, m - 1u) * k;`)
      .join(" "),
    load: loads.map((i) => `let a${i} = stripA(lineA${i}, at, k);`).join(" "),
    spread: "",
    announce: (r: number) =>
      rows === 1 ? "let r0 = a0;" : `let r${r} = subgroupBroadcast(a${Math.floor(r / lanes)}, ${r % lanes}u);`,
    element: (r: number, kk: number) => `r${r}[${kk}]`,
  };
}

/** A [k, m]: a lane loads four rows of one step. */
function downA({ tail }: MatmulShape, rows: number, lanes: number) {
  const across = Math.max(rows / 4, 1); // strips per step
  const strips = 4 * across;
  const steps = Math.min(lanes / across, 4); // per load
  const strip = (i: number) => {
    const step = `at + ${i * steps}u + stepA`;
    const value = `stripA(startA + (${step}) * m, rowA, m)`;
    return `let a${i} = ${tail ? `select(vec4f(), ${value}, ${step} < k)` : value};`;
  };
  return {
    begin: `let stepA = lane % ${Math.min(strips, lanes)}u / ${across}u; let rowA = row + lane % ${across}u * 4u;`,
    load: range(Math.ceil(strips / lanes))
      .map(strip)
      .join(" "),
    spread: range(strips)
      .map((i) => `let s${i} = subgroupBroadcast(a${Math.floor(i / lanes)}, ${i % lanes}u);`)
      .join(" "),
    announce: () => "",
    element: (r: number, kk: number) => `s${kk * across + Math.floor(r / 4)}[${r % 4}]`,
  };
}

/** B [k, n]: a lane loads its four columns of each step. */
function downB({ tail }: MatmulShape) {
  const strip = (kk: number) => {
    const value = `stripB(startB + (at + ${kk}u) * n, column, n)`;
    return `let b${kk} = ${tail ? `select(vec4f(), ${value}, at + ${kk}u < k)` : value};`;
  };
  return { begin: "", load: range(4).map(strip).join(" ") };
}

/** B [n, k]: a lane loads four steps of each of its columns and turns them round, which costs nothing in registers. */
function alongB() {
  const turned = (kk: number) =>
    range(4)
      .map((i) => `t${i}[${kk}]`)
      .join(", ");
  return {
    begin: range(4)
      .map((i) => `let lineB${i} = startB + min(column + ${i}u, n - 1u) * k;`)
      .join(" "),
    load: [
      ...range(4).map((i) => `let t${i} = stripB(lineB${i}, at, k);`),
      ...range(4).map((kk) => `let b${kk} = vec4f(${turned(kk)});`),
    ].join(" "),
  };
}
