import { kernel, linearIndex, linearWorkgroups, type Scalar } from "../framework/device/kernel.ts";

export type Reduction = "sum" | "max" | "min" | "argmax" | "argmin" | "sumSquares";

export interface ReduceShape {
  [name: string]: string | number | boolean;
  op: Reduction;
  x: Scalar;
  y: Scalar;
  /** A workgroup walks one row together (inner = 1); otherwise a lane has its own row. */
  together: boolean;
}

// Infinite, which no constant of WGSL may be.
const infinite = (bits: string) => `bitcast<f32>(${bits} | (u.outer & 0u))`;
const [lowest, highest] = [infinite("0xff800000u"), infinite("0x7f800000u")];
const start: Record<Reduction, string> = {
  sum: "0.0",
  sumSquares: "0.0",
  max: lowest,
  argmax: lowest,
  min: highest,
  argmin: highest,
};

/**
 * Reduces the middle axis of x [outer, length, inner] in pieces of `piece` elements: y [outer, pieces, inner]. A sum of
 * millions is made in two launches, so that it stays parallel, and in a fixed order, so that it stays the same.
 */
export const reduce = kernel<ReduceShape, { lanes: number }>({
  name: "reduce",
  bindings: { x: "read", y: "write" },
  types: ({ x, y }) => ({ x, y }),
  uniforms: { outer: "u32", length: "u32", inner: "u32", piece: "u32", pieces: "u32" },
  sizes: ["outer", "length", "inner", "piece"],
  tuning: { lanes: [64, 32, 128, 256, 16, 8] },
  // A CPU's barriers are dear: 8 lanes a row were 2 to 3 times as fast there as 64.
  pick: ({ together }, target, { piece } = { piece: 1024 }) => ({
    lanes: !together ? 64 : target.class === "software" ? 8 : piece > 1024 ? 256 : 64,
  }),
  workgroups: ({ together }, { lanes }, { outer, inner, pieces }) => {
    const rows = outer * inner * pieces;
    return rows === 0 ? [0] : linearWorkgroups(together ? rows : Math.ceil(rows / lanes));
  },
  cost: (_, { outer, length, inner }) => ({ flops: outer * length * inner, bytes: 4 * outer * length * inner }),
  wgsl: (shape, { lanes }) => {
    const type = shape.x === "f16" ? "f32" : shape.x;
    const arg = shape.op.startsWith("arg");
    // Compilers may take v != v for false; bits they do not.
    const nan = `fn isNaN(v: ${type}) -> bool { return ${type === "f32" ? "(bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u" : "false"}; }`;
    return `
    ${shape.op.startsWith("sum") ? "" : nan}
    ${shape.together ? `var<workgroup> values: array<${type}, ${lanes}>; var<workgroup> places: array<u32, ${lanes}>;` : ""}

    @compute @workgroup_size(${lanes})
    fn main(${linearIndex.params}) {
      let row = ${shape.together ? linearIndex.group : `${linearIndex.group} * ${lanes}u + lane`};
      if (row >= u.outer * u.pieces * u.inner) { return; }
      let column = row % u.inner;
      let part = (row / u.inner) % u.pieces;
      let base = (row / u.inner / u.pieces) * u.length * u.inner + column;
      let end = min((part + 1u) * u.piece, u.length);
      var value = ${initial(shape.op, type)};
      var place = part * u.piece;
      for (var k = part * u.piece + ${shape.together ? "lane" : "0u"}; k < end; k += ${shape.together ? `${lanes}u` : "1u"}) {
        let v = ${type}(x[base + k * u.inner]);
        ${step(shape.op, "v", "k")}
      }
      ${shape.together ? tree(shape, lanes) : `y[row] = ${shape.y}(${arg ? "place" : "value"});`}
    }`;
  },
});

function initial(op: Reduction, type: string): string {
  if (type === "f32") return start[op];
  const ends: Record<string, [string, string]> = {
    i32: ["i32(-2147483647 - 1)", "2147483647i"],
    u32: ["0u", "4294967295u"],
  };
  return op === "sum" || op === "sumSquares" ? `${type}(0)` : ends[type][op.endsWith("max") ? 0 : 1];
}

/** Takes `v` (found at `k`) into `value` and `place`; the first of equals wins. A NaN is taken in and never left. */
function step(op: Reduction, v: string, k: string): string {
  switch (op) {
    case "sum":
      return `value += ${v};`;
    case "sumSquares":
      return `value += ${v} * ${v};`;
    case "max":
    case "argmax":
      return `if (${v} > value || isNaN(${v})) { value = ${v}; place = ${k}; }`;
    case "min":
    case "argmin":
      return `if (${v} < value || isNaN(${v})) { value = ${v}; place = ${k}; }`;
  }
}

/** Joins the lanes' results in a fixed order; between equals the earlier place wins. */
function tree({ op, y }: ReduceShape, lanes: number): string {
  const arg = op.startsWith("arg");
  const wins = op.endsWith("max") ? ">" : "<";
  const join = op.startsWith("sum")
    ? "values[lane] += values[lane + half];"
    : `let v = values[lane + half]; let k = places[lane + half];
          if (v ${wins} values[lane] || isNaN(v) || (v == values[lane] && k < places[lane])) { values[lane] = v; places[lane] = k; }`;
  return `
      values[lane] = value;
      places[lane] = place;
      for (var half = ${lanes / 2}u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (lane < half) { ${join} }
      }
      if (lane == 0u) { y[row] = ${y}(${arg ? "places[0]" : "values[0]"}); }`;
}
