import { type AttentionShape, type AttentionTuning, addressing, TILE } from "./attention.ts";
import * as broadcast from "./attentionBroadcast.ts";
import * as tiles from "./attentionTiles.ts";

/**
 * A subgroup keeps `rows` rows of queries and their sums; keys pass by, 4 · lanes at a time. A score's lane is its key's;
 * in the product with v a lane has its columns of all rows and gets the weights from the lanes that have them.
 */
export function forwardBroadcast(shape: AttentionShape, { rows, lanes }: AttentionTuning): string {
  const { segments, dtype, group } = shape;
  const tile = broadcast.broadcastOf(shape, rows, lanes);
  const each = (statement: (r: number) => string) => broadcast.eachRow(tile, statement);
  const columns = broadcast.columnsOf(tile);
  const key = (row: string) => `keyStart + min(s + ${row}, u.keys - 1u) * kvToken`;
  return `
    ${addressing(shape, rows)}
    @compute @workgroup_size(${lanes})
    ${broadcast.entry}
      let count = u.queries * ${group}u;
      let row = group.x * ${rows}u;
      let kvToken = u.kvToken;
      let keyStart = group.z * u.kvBatch + group.y * u.kvHead;
      let scale = u.scale * 1.44269504;
      ${broadcast.own(tile, "own", (r) => `rowOf(min(row + ${r}, count - 1u), group)`)}
      ${broadcast.own(tile, "limit", (r) => `limitOf(row + ${r})`)}
      ${segments ? broadcast.ownSpans(tile, (r) => `min(row + ${r}, count - 1u) / ${group}u`) : ""}
      ${broadcast.columnNames(tile)}
      ${each((r) => `var top${r} = -1e30; var total${r} = 0.0;`)}
      ${broadcast.keep(tile, "q")}
      ${broadcast.zeros(tile, "o")}
      let end = ${segments ? "min(spanEnd, lastLimit(row, count))" : "lastLimit(row, count)"};
      for (var s = ${segments ? "spanStart" : "0u"}; s < end; s += ${4 * lanes}u) {
        ${broadcast.passingRows(tile, key)}
        ${broadcast.dots(tile, [{ sum: "p", own: "q", passing: "k" }])}
        let keys = ${broadcast.passingNumbers(tile, "s")};
        ${segments ? broadcast.passingSpans("min(vec4u(keys), vec4u(u.keys - 1u))") : ""}
        ${each(
          (r) => `{
          p${r} = select(vec4f(-2e30), p${r} * scale, ${broadcast.visible(tile, `keys < vec4i(${broadcast.ofRow(tile, "limit", r)})`, segments, r)});
          let pair = max(p${r}.xy, p${r}.zw);
          var top = max(pair.x, pair.y);
          ${broadcast.joined(tile, "top", (a, b) => `max(${a}, ${b})`)}
          top = max(top, top${r});
          p${r} = exp2(p${r} - top);
          let shrink = exp2(top${r} - top);
          top${r} = top;
          total${r} = total${r} * shrink + dot(p${r}, vec4f(1.0));
          ${columns.map((c) => `o${r}_${c} *= shrink;`).join(" ")}
        }`,
        )}
        ${broadcast.accumulate(tile, [{ sum: "o", weight: "p", passing: "v" }], key)}
      }
      ${each(
        (r) => `{
        ${broadcast.joined(tile, `total${r}`, (a, b) => `${a} + ${b}`)}
        let share = select(1.0 / total${r}, 0.0, total${r} == 0.0);
        ${columns.map((c) => `o${r}_${c} *= share;`).join(" ")}
      }`,
      )}
      ${broadcast.writeRows(tile, { target: "o", dtype, sum: "o", count: "count", start: "rowOf(row + r, group)" })}
      for (var r = lane; r < ${rows}u && row + r < count; r += ${lanes}u) {
        ${broadcast.choose(tile, "top", "r", (r) => `top${r}`)}
        ${broadcast.choose(tile, "total", "r", (r) => `total${r}`)}
        lse[statOf(row + r, group)] = lseOf(top, total);
      }
    }`;
}

/** The same with shared memory: a workgroup keeps `rows` rows of queries, 32 keys pass by, a lane has four of each. */
export function forwardTiles(shape: AttentionShape, tile: AttentionTuning): string {
  const { segments, dtype, group, headDim } = shape;
  const quads = headDim / 4;
  const { four, fourth } = tiles;
  const token = (n: string) => `min(${n}, count - 1u) / ${group}u`;
  const joined = (of: string, join: (a: string, b: string) => string) => `
        join[lane] = ${of};
        workgroupBarrier();
        ${of} = join[y * 8u];
        for (var i = 1u; i < 8u; i++) { ${of} = ${join(of, "join[y * 8u + i]")}; }`;
  return `
    ${tiles.begin(shape, tile, "queries")}
    var<workgroup> join: array<vec4f, ${tile.lanes}>;
    ${tiles.main(shape, tile)}
      let limits = ${fourth((i) => `limitOf(first + y * 4u + ${i}u)`, "i")};
      ${segments ? tiles.ownSpans(tile, (r) => token(`first + ${r}`)) : ""}
      let end = ${segments ? "min(spanEnd, lastLimit(first, count))" : "lastLimit(first, count)"};
      var top = vec4f(-1e30);
      var total = vec4f();
      ${tiles.zeros(quads, "o")}
      for (var s = ${segments ? "spanStart" : "0u"}; s < end; s += ${TILE}u) {
        passing = s;
        ${tiles.dots(tile, quads, { sum: "p", own: "q", passing: "k" })}
        ${four((j) => {
          const key = `s + x + ${8 * j}u`;
          const seen = tiles.visible(`vec4i(i32(${key})) < limits`, segments, `min(${key}, u.keys - 1u)`);
          return `p${j} = select(vec4f(-2e30), p${j} * scale, ${seen});`;
        })}
        var peak = max(max(p0, p1), max(p2, p3));
        ${joined("peak", (a, b) => `max(${a}, ${b})`)}
        peak = max(peak, top);
        let shrink = exp2(top - peak);
        top = peak;
        ${four((j) => `p${j} = exp2(p${j} - top);`)}
        total = total * shrink + p0 + p1 + p2 + p3;
        ${four((i) =>
          tiles
            .columnsOf(quads)
            .map((c) => `o${i}_${c} *= shrink[${i}];`)
            .join(" "),
        )}
        ${tiles.accumulate(tile, quads, { sum: "o", weight: "p", passing: "v" })}
      }
      workgroupBarrier();
      ${joined("total", (a, b) => `${a} + ${b}`)}
      let share = select(vec4f(1.0) / total, vec4f(), total == vec4f());
      ${tiles.writeRows(quads, "o", dtype, "o", "count", (i) => `share[${i}]`)}
      if (x == 0u) {
        ${four((i) => `if (first + y * 4u + ${i}u < count) { lse[statOf(first + y * 4u + ${i}u, group)] = lseOf(top[${i}], total[${i}]); }`)}
      }
    }`;
}
