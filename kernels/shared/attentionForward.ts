import { type AttentionShape, type AttentionTuning, addressing } from "./attention.ts";
import * as tiles from "./attentionBroadcast.ts";

/**
 * A subgroup keeps `rows` rows of queries and their sums; keys pass by, 4 · lanes at a time. A score's lane is its key's;
 * in the product with v a lane has its columns of all rows and gets the weights from the lanes that have them.
 */
export function forwardBroadcast(shape: AttentionShape, { rows, lanes }: AttentionTuning): string {
  const { segments, dtype, group } = shape;
  const tile = tiles.broadcastOf(shape, rows, lanes);
  const each = (statement: (r: number) => string) => tiles.eachRow(tile, statement);
  const columns = tiles.columnsOf(tile);
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
      ${each((r) => `let limit${r} = limitOf(row + ${r}u); var top${r} = -1e30; var total${r} = 0.0;`)}
      ${tiles.zeros(tile, "o")}
      ${segments ? tiles.ownSpans(tile, (r) => `min(row + ${r}u, count - 1u) / ${group}u`) : ""}
      let end = ${segments ? "min(spanEnd, lastLimit(row, count))" : "lastLimit(row, count)"};
      for (var s = ${segments ? "spanStart" : "0u"}; s < end; s += ${4 * lanes}u) {
        ${tiles.passingRows(tile, key)}
        ${tiles.dots(tile, [{ sum: "p", own: "q", passing: "k" }])}
        let keys = ${tiles.passingNumbers(tile, "s")};
        ${segments ? tiles.passingSpans("min(vec4u(keys), vec4u(u.keys - 1u))") : ""}
        ${each(
          (r) => `{
          p${r} = select(vec4f(-2e30), p${r} * scale, ${tiles.visible(`keys < vec4i(limit${r})`, segments, r)});
          let pair = max(p${r}.xy, p${r}.zw);
          let top = max(top${r}, subgroupMax(max(pair.x, pair.y)));
          p${r} = exp2(p${r} - top);
          let shrink = exp2(top${r} - top);
          top${r} = top;
          total${r} = total${r} * shrink + dot(p${r}, vec4f(1.0));
          ${columns.map((c) => `o${r}_${c} *= shrink;`).join(" ")}
        }`,
        )}
        ${tiles.accumulate(tile, [{ sum: "o", weight: "p", passing: "v" }], key)}
      }
      ${each(
        (r) => `{
        let n = row + ${r}u;
        let total = subgroupAdd(total${r});
        if (n < count) {
          let share = select(1.0 / total, 0.0, total == 0.0);
          let start = rowOf(n, group);
          ${tiles.writeRow(tile, "o", dtype, "start", (c) => `o${r}_${c} * share`)}
          if (lane == 0u) { lse[statOf(n, group)] = select((top${r} + log2(total)) * 0.69314718, bitcast<f32>(0xff800000u | (n >> 31u)), total == 0.0); }
        }
      }`,
      )}
    }`;
}
