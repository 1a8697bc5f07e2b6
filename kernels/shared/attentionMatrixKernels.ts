import type { AttentionShape, AttentionTuning } from "./attention.ts";
import { blockOf } from "./attentionBlock.ts";
import * as matrix from "./attentionMatrix.ts";
import { zeros } from "./matrixUnits.ts";

/** A subgroup keeps its rows of queries as fragments; their sums stay with the lanes, which WGSL lets scale them as maxima grow. */
export function forwardMatrix(shape: AttentionShape, tuning: AttentionTuning): string {
  const { segments, group } = shape;
  const tile = blockOf(shape, tuning);
  const { rows, block, parts, lanes, m } = tile;
  const fours = (eights: number[]) => eights.flatMap((i) => [2 * i, 2 * i + 1]);
  const shares = matrix.shares(tile);
  const panels = matrix.panelsOf(tile);
  const values = matrix.inTwo(tile, "slice", "v");
  const each = (statement: (i: number) => string) => shares.map(statement).join("\n        ");
  const sums = panels.map(({ eights }, p) => fours(eights).map((i) => `o${p}_${i}`));
  const token = (r: string) => `min(${r}, count - 1u) / ${group}u`;
  const joined = (of: string, join: (a: string, b: string) => string) =>
    Array.from({ length: parts }, (_, i) => `join[lane - part * ${m}u + ${i * m}u]`).reduce(join, of);
  const product = ({ columns, eights }: (typeof panels)[number], p: number) => `
        ${p > 0 ? "workgroupBarrier();" : ""}
        ${columns
          .map(
            (c, i) =>
              `{ var sum = Sum(); ${matrix.accumulate(tile, "sum", "w", "slice", c)} ${matrix.show(tile, "scratch", "sum", i)} }`,
          )
          .join("\n        ")}
        workgroupBarrier();
        ${fours(eights)
          .map((i) => `o${p}_${i} = o${p}_${i} * shrink + ${matrix.ofScratch(tile, "scratch", i)};`)
          .join(" ")}`;
  return `
    ${matrix.begin(shape, tuning, "queries", { slices: ["slice"], weights: ["weights"], scratches: ["scratch"] })}
    var<workgroup> join: array<f32, ${lanes}>;
    ${segments ? `var<workgroup> docs: array<vec4u, ${block / 4}>;` : ""}
    ${matrix.main(shape, tile)}
      let limit = limitOf(row);
      ${segments ? matrix.ownSpans(rows, token) : ""}
      let end = ${segments ? "min(spanEnd, lastLimit(first, count))" : "lastLimit(first, count)"};
      var top = -1e30;
      var total = 0.0;
      ${sums
        .flat()
        .map((o) => `var ${o} = vec4f();`)
        .join(" ")}
      ${matrix.keep(tile, "q", "q", "slice")}
      for (var s = ${segments ? "spanStart" : "0u"}; s < end; s += ${block}u) {
        workgroupBarrier();
        ${matrix.pass(tile, "slice", "k", "s")}
        ${segments ? matrix.passingDocs(tile) : ""}
        workgroupBarrier();
        ${values.declare("s")}
        ${matrix.scores(tile, "scratch", "q", "slice")}
        workgroupBarrier();
        ${values.store}
        ${matrix.seen}
        ${each((i) => `var p${i} = select(vec4f(-2e30), ${matrix.ofScratch(tile, "scratch", i)} * scale, ${matrix.visible(tile, segments, i)});`)}
        ${shares.length > 1 ? `let peaks = ${shares.map((i) => `p${i}`).reduce((a, b) => `max(${a}, ${b})`)};` : "let peaks = p0;"}
        join[lane] = max(max(peaks.x, peaks.y), max(peaks.z, peaks.w));
        workgroupBarrier();
        let peak = ${joined("top", (a, b) => `max(${a}, ${b})`)};
        let shrink = exp2(top - peak);
        top = peak;
        ${each((i) => `p${i} = exp2(p${i} - top);`)}
        ${matrix.weigh(tile, "weights", "p")}
        total = total * shrink + dot(${shares.map((i) => `p${i}`).join(" + ")}, vec4f(1.0));
        workgroupBarrier();
        ${matrix.weightsOf(tile, "w", "weights")}
        ${panels.map(product).join("")}
      }
      workgroupBarrier();
      join[lane] = total;
      workgroupBarrier();
      total = ${joined("0.0", (a, b) => `${a} + ${b}`)};
      if (row < count) {
        let share = select(1.0 / total, 0.0, total == 0.0);
        let start = ownStart(row) + part;
        ${panels
          .flatMap(({ eights, from }, p) =>
            eights.map((i) =>
              matrix.put(tile, "o", from + i * parts, `o${p}_${2 * i} * share`, `o${p}_${2 * i + 1} * share`),
            ),
          )
          .join("\n        ")}
        if (part == 0u) { lse[statOf(row, group)] = lseOf(top, total); }
      }
    }`;
}

/** A subgroup keeps its rows of queries and of dO as fragments, and dq's sums; keys and values pass by. */
export function gradientQMatrix(shape: AttentionShape, tuning: AttentionTuning): string {
  const { segments, group } = shape;
  const tile = blockOf(shape, tuning);
  const { rows, block } = tile;
  const columns = matrix.columnsOf(tile);
  const token = (r: string) => `min(${r}, count - 1u) / ${group}u`;
  const uses = { slices: ["keys", "values"], weights: ["weights"], scratches: ["scratch", "slopes"] };
  const from = segments ? "spanStart" : "0u";
  const passing = matrix.passBoth(tile, { keys: "k", values: "v" }, "s", from);
  // The weights of documents take the registers that early loads would hold.
  const [early, late] = segments ? ["", passing.ahead] : [passing.ahead, ""];
  return `
    ${matrix.begin(shape, tuning, "queries", uses)}
    ${segments ? `var<workgroup> docs: array<vec4u, ${block / 4}>;` : ""}
    ${matrix.main(shape, tile)}
      let limit = limitOf(row);
      let stat = stats[statOf(min(row, count - 1u), group)];
      ${segments ? matrix.ownSpans(rows, token) : ""}
      let end = ${segments ? "min(spanEnd, lastLimit(first, count))" : "lastLimit(first, count)"};
      ${columns.map((c) => `var sum${c} = ${zeros};`).join(" ")}
      ${matrix.keep(tile, "q", "q", "keys")}
      ${matrix.keep(tile, "g", "dO", "values")}
      ${passing.begin}
      for (var s = ${from}; s < end; s += ${block}u) {
        workgroupBarrier();
        ${passing.fill}
        ${segments ? matrix.passingDocs(tile) : ""}
        workgroupBarrier();
        ${matrix.scores(tile, "scratch", "q", "keys")}
        ${matrix.scores(tile, "slopes", "g", "values")}
        workgroupBarrier();
        ${matrix.seen}
        ${matrix
          .shares(tile)
          .map(
            (
              i,
            ) => `let slope${i} = exp2(${matrix.ofScratch(tile, "scratch", i)} * scale - stat.x) * (${matrix.ofScratch(tile, "slopes", i)} - stat.y);
        let d${i} = select(vec4f(), slope${i}, ${matrix.visible(tile, segments, i)});`,
          )
          .join("\n        ")}
        ${early}
        ${matrix.weigh(tile, "weights", "d")}
        workgroupBarrier();
        ${matrix.weightsOf(tile, "w", "weights")}
        ${late}
        ${columns.map((c) => matrix.accumulate(tile, `sum${c}`, "w", "keys", c)).join("\n        ")}
      }
      ${matrix.writeRows(tile, "dq", "sum", "scratch", "count", "u.scale")}
    }`;
}

/** A subgroup keeps its rows of keys and of values as fragments, and dk's and dv's sums; the group's queries and dO pass by. */
export function gradientKVMatrix(shape: AttentionShape, tuning: AttentionTuning): string {
  const { segments, causal, group } = shape;
  const tile = blockOf(shape, tuning);
  const { rows, block } = tile;
  const columns = matrix.columnsOf(tile);
  const uses = {
    slices: ["queries", "gradients"],
    weights: ["weights", "slopeWeights"],
    scratches: ["scratch", "slopes"],
  };
  const query = (i: string) => `min(n + ${i}, count - 1u)`;
  const passing = matrix.passBoth(tile, { queries: "q", gradients: "dO" }, "n", "firstPassing");
  return `
    ${matrix.begin(shape, tuning, "keys", uses)}
    var<workgroup> tops: array<vec4f, ${block / 4}>;
    var<workgroup> deltas: array<vec4f, ${block / 4}>;
    var<workgroup> limits: array<vec4i, ${block / 4}>;
    ${segments ? `var<workgroup> docs: array<vec4u, ${block / 4}>;` : ""}
    ${matrix.main(shape, tile)}
      ${segments ? matrix.ownSpans(rows, (r) => `min(${r}, u.keys - 1u)`) : ""}
      let visibleFrom = ${causal ? "u32(max(i32(first + u.queries) - i32(u.keys), 0))" : "0u"};
      let end = ${segments ? `spanEnd * ${group}u` : "count"};
      ${columns.map((c) => `var dk${c} = ${zeros}; var dv${c} = ${zeros};`).join(" ")}
      ${matrix.keep(tile, "k", "k", "queries")}
      ${matrix.keep(tile, "v", "v", "gradients")}
      let firstPassing = ${segments ? "max(spanStart, visibleFrom)" : "visibleFrom"} * ${group}u;
      ${passing.begin}
      for (var n = firstPassing; n < end; n += ${block}u) {
        workgroupBarrier();
        ${passing.fill}
        ${matrix.passing(tile, "tops", "vec4f", (i) => `stats[statOf(${query(i)}, group)].x`)}
        ${matrix.passing(tile, "deltas", "vec4f", (i) => `stats[statOf(${query(i)}, group)].y`)}
        ${matrix.passing(tile, "limits", "vec4i", (i) => `limitOf(n + ${i})`)}
        ${segments ? matrix.passing(tile, "docs", "vec4u", (i) => `spans[group.z * u.queries + ${query(i)} / ${group}u].x`) : ""}
        workgroupBarrier();
        ${matrix.scores(tile, "scratch", "k", "queries")}
        ${matrix.scores(tile, "slopes", "v", "gradients")}
        workgroupBarrier();
        ${matrix
          .shares(tile)
          .map(
            (i) => `let at${i} = ${matrix.quadOf(tile, i)};
        let seen${i} = (vec4i(i32(row)) < limits[at${i}])${segments ? ` & (docs[at${i}] == vec4u(doc))` : ""};
        let weight${i} = select(vec4f(), exp2(${matrix.ofScratch(tile, "scratch", i)} * scale - tops[at${i}]), seen${i});
        let slope${i} = weight${i} * (${matrix.ofScratch(tile, "slopes", i)} - deltas[at${i}]);`,
          )
          .join("\n        ")}
        ${matrix.weigh(tile, "weights", "weight")}
        ${matrix.weigh(tile, "slopeWeights", "slope")}
        workgroupBarrier();
        ${matrix.weightsOf(tile, "p", "weights")}
        ${columns.map((c) => matrix.accumulate(tile, `dv${c}`, "p", "gradients", c)).join("\n        ")}
        ${matrix.weightsOf(tile, "g", "slopeWeights")}
        ${passing.ahead}
        ${columns.map((c) => matrix.accumulate(tile, `dk${c}`, "g", "queries", c)).join("\n        ")}
      }
      ${matrix.writeRows(tile, "dk", "dk", "scratch", "u.keys", "u.scale")}
      ${matrix.writeRows(tile, "dv", "dv", "slopes", "u.keys", "1.0")}
    }`;
}
