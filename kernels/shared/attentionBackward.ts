import { type AttentionShape, type AttentionTuning, addressing } from "./attention.ts";
import * as tiles from "./attentionBroadcast.ts";

/** A subgroup keeps rows of queries and of dO, and dq's sums; keys and values pass by as in the forward kernel. */
export function gradientQBroadcast(shape: AttentionShape, { rows, lanes }: AttentionTuning): string {
  const { segments, dtype, group } = shape;
  const tile = tiles.broadcastOf(shape, rows, lanes);
  const each = (statement: (r: number) => string) => tiles.eachRow(tile, statement);
  const key = (row: string) => `keyStart + min(s + ${row}, u.keys - 1u) * kvToken`;
  return `
    ${addressing(shape, rows)}
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
      let count = u.queries * ${group}u;
      let row = group.x * ${rows}u;
      let kvToken = u.kvToken;
      let keyStart = group.z * u.kvBatch + group.y * u.kvHead;
      let scale = u.scale * 1.44269504;
      ${tiles.ownRows(tile, (r) => `rowOf(min(row + ${r}, count - 1u), group)`)}
      ${tiles.columnNames(tile)}
      ${each((r) => `let limit${r} = limitOf(row + ${r}u); let stat${r} = stats[statOf(min(row + ${r}u, count - 1u), group)];`)}
      ${tiles.zeros(tile, "sum")}
      ${segments ? tiles.ownSpans(tile, (r) => `min(row + ${r}u, count - 1u) / ${group}u`) : ""}
      let end = ${segments ? "min(spanEnd, lastLimit(row, count))" : "lastLimit(row, count)"};
      for (var s = ${segments ? "spanStart" : "0u"}; s < end; s += ${4 * lanes}u) {
        ${tiles.passingRows(tile, key)}
        ${tiles.dots(tile, [
          { sum: "p", own: "q", passing: "k" },
          { sum: "g", own: "dO", passing: "v" },
        ])}
        let keys = ${tiles.passingNumbers(tile, "s")};
        ${segments ? tiles.passingSpans("min(vec4u(keys), vec4u(u.keys - 1u))") : ""}
        ${each(
          (r) => `{
          let p = exp2(p${r} * scale - stat${r}.x);
          g${r} = select(vec4f(), p * (g${r} - stat${r}.y), ${tiles.visible(`keys < vec4i(limit${r})`, segments, r)});
        }`,
        )}
        ${tiles.accumulate(tile, [{ sum: "sum", weight: "g", passing: "k" }], key)}
      }
      ${each(
        (r) => `if (row + ${r}u < count) {
        let start = rowOf(row + ${r}u, group);
        ${tiles.writeRow(tile, "dq", dtype, "start", (c) => `sum${r}_${c} * u.scale`)}
      }`,
      )}
    }`;
}

/** A subgroup keeps rows of keys and of values, and dk's and dv's sums; the group's rows of queries and of dO pass by. */
export function gradientKVBroadcast(shape: AttentionShape, { rows, lanes }: AttentionTuning): string {
  const { segments, causal, dtype, group } = shape;
  const tile = tiles.broadcastOf(shape, rows, lanes);
  const each = (statement: (r: number) => string) => tiles.eachRow(tile, statement);
  const query = (row: string) => `rowOf(min(n + ${row}, count - 1u), group)`;
  return `
    ${addressing(shape, rows)}
    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(subgroup_invocation_id) lane: u32) {
      let count = u.queries * ${group}u;
      let row = group.x * ${rows}u;
      let keyStart = group.z * u.kvBatch + group.y * u.kvHead;
      let scale = u.scale * 1.44269504;
      ${tiles.ownRows(tile, (r) => `keyStart + min(row + ${r}, u.keys - 1u) * u.kvToken`)}
      ${tiles.columnNames(tile)}
      ${tiles.zeros(tile, "dk")}
      ${tiles.zeros(tile, "dv")}
      ${segments ? tiles.ownSpans(tile, (r) => `min(row + ${r}u, u.keys - 1u)`) : ""}
      let begin = ${causal ? "u32(max(i32(row + u.queries) - i32(u.keys), 0))" : "0u"};
      let end = ${segments ? `spanEnd * ${group}u` : "count"};
      for (var n = ${segments ? "max(spanStart, begin)" : "begin"} * ${group}u; n < end; n += ${4 * lanes}u) {
        ${tiles.passingRows(tile, query)}
        ${tiles.dots(tile, [
          { sum: "p", own: "k", passing: "q" },
          { sum: "g", own: "v", passing: "dO" },
        ])}
        let numbers = ${tiles.passingNumbers(tile, "n")};
        let limits = vec4i(${[0, 1, 2, 3].map((j) => `limitOf(u32(numbers[${j}]))`)});
        ${[0, 1, 2, 3].map((j) => `let stat${j} = stats[statOf(min(u32(numbers[${j}]), count - 1u), group)];`).join(" ")}
        let lse = vec4f(stat0.x, stat1.x, stat2.x, stat3.x);
        let delta = vec4f(stat0.y, stat1.y, stat2.y, stat3.y);
        ${segments ? tiles.passingSpans(`min(vec4u(numbers), vec4u(count - 1u)) / vec4u(${group}u)`) : ""}
        ${each(
          (r) => `
          p${r} = select(vec4f(), exp2(p${r} * scale - lse), ${tiles.visible(`vec4i(i32(row) + ${r}) < limits`, segments, r)});
          g${r} = p${r} * (g${r} - delta);`,
        )}
        ${tiles.accumulate(
          tile,
          [
            { sum: "dv", weight: "p", passing: "dO" },
            { sum: "dk", weight: "g", passing: "q" },
          ],
          query,
        )}
      }
      ${each(
        (r) => `if (row + ${r}u < u.keys) {
        let start = keyStart + (row + ${r}u) * u.kvToken;
        ${tiles.writeRow(tile, "dk", dtype, "start", (c) => `dk${r}_${c} * u.scale`)}
        ${tiles.writeRow(tile, "dv", dtype, "start", (c) => `dv${r}_${c}`)}
      }`,
      )}
    }`;
}
