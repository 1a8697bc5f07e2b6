import { type AttentionShape, type AttentionTuning, addressing, TILE } from "./attention.ts";
import * as broadcast from "./attentionBroadcast.ts";
import * as tiles from "./attentionTiles.ts";

/** A subgroup keeps rows of queries and of dO, and dq's sums; keys and values pass by as in the forward kernel. */
export function gradientQBroadcast(shape: AttentionShape, { rows, lanes }: AttentionTuning): string {
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
      ${broadcast.columnNames(tile)}
      ${broadcast.own(tile, "limit", (r) => `limitOf(row + ${r})`)}
      ${broadcast.own(tile, "stat", (r) => `stats[statOf(min(row + ${r}, count - 1u), group)]`)}
      ${broadcast.keep(tile, "q")}
      ${broadcast.keep(tile, "dO")}
      ${broadcast.zeros(tile, "sum")}
      ${segments ? broadcast.ownSpans(tile, (r) => `min(row + ${r}, count - 1u) / ${group}u`) : ""}
      let end = ${segments ? "min(spanEnd, lastLimit(row, count))" : "lastLimit(row, count)"};
      for (var s = ${segments ? "spanStart" : "0u"}; s < end; s += ${4 * lanes}u) {
        ${broadcast.passingRows(tile, key)}
        ${broadcast.dots(tile, [
          { sum: "p", own: "q", passing: "k" },
          { sum: "g", own: "dO", passing: "v" },
        ])}
        let keys = ${broadcast.passingNumbers(tile, "s")};
        ${segments ? broadcast.passingSpans("min(vec4u(keys), vec4u(u.keys - 1u))") : ""}
        ${each(
          (r) => `{
          let stat = ${broadcast.ofRow(tile, "stat", r)};
          let p = exp2(p${r} * scale - stat.x);
          g${r} = select(vec4f(), p * (g${r} - stat.y), ${broadcast.visible(tile, `keys < vec4i(${broadcast.ofRow(tile, "limit", r)})`, segments, r)});
        }`,
        )}
        ${broadcast.accumulate(tile, [{ sum: "sum", weight: "g", passing: "k" }], key)}
      }
      ${each((r) => columns.map((c) => `sum${r}_${c} *= u.scale;`).join(" "))}
      ${broadcast.writeRows(tile, { target: "dq", dtype, sum: "sum", count: "count", start: "rowOf(row + r, group)" })}
    }`;
}

/** A subgroup keeps rows of keys and of values, and dk's and dv's sums; the group's rows of queries and of dO pass by. */
export function gradientKVBroadcast(shape: AttentionShape, { rows, lanes }: AttentionTuning): string {
  const { segments, causal, dtype, group } = shape;
  const tile = broadcast.broadcastOf(shape, rows, lanes);
  const each = (statement: (r: number) => string) => broadcast.eachRow(tile, statement);
  const columns = broadcast.columnsOf(tile);
  const query = (row: string) => `rowOf(min(n + ${row}, count - 1u), group)`;
  return `
    ${addressing(shape, rows)}
    @compute @workgroup_size(${lanes})
    ${broadcast.entry}
      let count = u.queries * ${group}u;
      let row = group.x * ${rows}u;
      let keyStart = group.z * u.kvBatch + group.y * u.kvHead;
      let scale = u.scale * 1.44269504;
      ${broadcast.own(tile, "own", (r) => `keyStart + min(row + ${r}, u.keys - 1u) * u.kvToken`)}
      ${broadcast.columnNames(tile)}
      ${broadcast.keep(tile, "k")}
      ${broadcast.keep(tile, "v")}
      ${broadcast.zeros(tile, "dk")}
      ${broadcast.zeros(tile, "dv")}
      ${segments ? broadcast.ownSpans(tile, (r) => `min(row + ${r}, u.keys - 1u)`) : ""}
      let begin = ${causal ? "u32(max(i32(row + u.queries) - i32(u.keys), 0))" : "0u"};
      let end = ${segments ? `spanEnd * ${group}u` : "count"};
      for (var n = ${segments ? "max(spanStart, begin)" : "begin"} * ${group}u; n < end; n += ${4 * lanes}u) {
        ${broadcast.passingRows(tile, query)}
        ${broadcast.dots(tile, [
          { sum: "p", own: "k", passing: "q" },
          { sum: "g", own: "v", passing: "dO" },
        ])}
        let numbers = ${broadcast.passingNumbers(tile, "n")};
        let limits = vec4i(${[0, 1, 2, 3].map((j) => `limitOf(u32(numbers[${j}]))`)});
        ${[0, 1, 2, 3].map((j) => `let stat${j} = stats[statOf(min(u32(numbers[${j}]), count - 1u), group)];`).join(" ")}
        let lse = vec4f(stat0.x, stat1.x, stat2.x, stat3.x);
        let delta = vec4f(stat0.y, stat1.y, stat2.y, stat3.y);
        ${segments ? broadcast.passingSpans(`min(vec4u(numbers), vec4u(count - 1u)) / vec4u(${group}u)`) : ""}
        ${each(
          (r) => `
          p${r} = select(vec4f(), exp2(p${r} * scale - lse), ${broadcast.visible(tile, `vec4i(i32(row) + ${r}) < limits`, segments, r)});
          g${r} = p${r} * (g${r} - delta);`,
        )}
        ${broadcast.accumulate(
          tile,
          [
            { sum: "dv", weight: "p", passing: "dO" },
            { sum: "dk", weight: "g", passing: "q" },
          ],
          query,
        )}
      }
      ${each((r) => columns.map((c) => `dk${r}_${c} *= u.scale;`).join(" "))}
      ${broadcast.writeRows(tile, { target: "dk", dtype, sum: "dk", count: "u.keys", start: "keyStart + (row + r) * u.kvToken" })}
      ${broadcast.writeRows(tile, { target: "dv", dtype, sum: "dv", count: "u.keys", start: "keyStart + (row + r) * u.kvToken" })}
    }`;
}

/** The same with shared memory: a workgroup keeps `rows` rows of queries and of dO, 32 keys and values pass by. */
export function gradientQTiles(shape: AttentionShape, tile: AttentionTuning): string {
  const { segments, dtype, group, headDim } = shape;
  const quads = headDim / 4;
  const { four, fourth } = tiles;
  const token = (n: string) => `min(${n}, count - 1u) / ${group}u`;
  return `
    ${tiles.begin(shape, tile, "queries")}
    ${tiles.main(shape, tile)}
      let limits = ${fourth((i) => `limitOf(first + y * 4u + ${i}u)`, "i")};
      ${four((i) => `let stat${i} = stats[statOf(min(first + y * 4u + ${i}u, count - 1u), group)];`)}
      let lse = ${fourth((i) => `stat${i}.x`)};
      let delta = ${fourth((i) => `stat${i}.y`)};
      ${segments ? tiles.ownSpans(tile, (r) => token(`first + ${r}`)) : ""}
      let end = ${segments ? "min(spanEnd, lastLimit(first, count))" : "lastLimit(first, count)"};
      ${tiles.zeros(quads, "sum")}
      for (var s = ${segments ? "spanStart" : "0u"}; s < end; s += ${TILE}u) {
        passing = s;
        ${tiles.dots(tile, quads, { sum: "p", own: "q", passing: "k" })}
        ${tiles.dots(tile, quads, { sum: "g", own: "dO", passing: "v" })}
        ${four((j) => {
          const key = `s + x + ${8 * j}u`;
          const seen = tiles.visible(`vec4i(i32(${key})) < limits`, segments, `min(${key}, u.keys - 1u)`);
          return `g${j} = select(vec4f(), exp2(p${j} * scale - lse) * (g${j} - delta), ${seen});`;
        })}
        ${tiles.accumulate(tile, quads, { sum: "sum", weight: "g", passing: "k" })}
      }
      ${tiles.writeRows(quads, "dq", dtype, "sum", "count", () => "u.scale")}
    }`;
}

/** The same with shared memory: a workgroup keeps `rows` rows of keys and of values, 32 rows of queries and of dO pass by. */
export function gradientKVTiles(shape: AttentionShape, tile: AttentionTuning): string {
  const { segments, causal, dtype, group, headDim } = shape;
  const quads = headDim / 4;
  const { four } = tiles;
  return `
    ${tiles.begin(shape, tile, "keys")}
    ${tiles.main(shape, tile)}
      let keys = vec4i(i32(first + y * 4u)) + vec4i(0, 1, 2, 3);
      ${segments ? tiles.ownSpans(tile, (r) => `min(first + ${r}, u.keys - 1u)`) : ""}
      let begin = ${causal ? "u32(max(i32(first + u.queries) - i32(u.keys), 0))" : "0u"};
      let end = ${segments ? `spanEnd * ${group}u` : "count"};
      ${tiles.zeros(quads, "dk")}
      ${tiles.zeros(quads, "dv")}
      for (var n = ${segments ? "max(spanStart, begin)" : "begin"} * ${group}u; n < end; n += ${TILE}u) {
        passing = n;
        ${tiles.dots(tile, quads, { sum: "p", own: "k", passing: "q" })}
        ${tiles.dots(tile, quads, { sum: "g", own: "v", passing: "dO" })}
        ${four((j) => {
          const query = `min(n + x + ${8 * j}u, count - 1u)`;
          const seen = tiles.visible(`keys < vec4i(limitOf(n + x + ${8 * j}u))`, segments, `${query} / ${group}u`);
          return `{
          let stat = stats[statOf(${query}, group)];
          p${j} = select(vec4f(), exp2(p${j} * scale - stat.x), ${seen});
          g${j} = p${j} * (g${j} - stat.y);
        }`;
        })}
        ${tiles.accumulate(tile, quads, { sum: "dv", weight: "p", passing: "dO" })}
        ${tiles.accumulate(tile, quads, { sum: "dk", weight: "g", passing: "q" })}
      }
      ${tiles.writeRows(quads, "dk", dtype, "dk", "u.keys", () => "u.scale")}
      ${tiles.writeRows(quads, "dv", dtype, "dv", "u.keys", () => "1.0")}
    }`;
}
