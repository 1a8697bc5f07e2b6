import { kernel, type Target } from "../framework/device/kernel.ts";
import { NO_GROUP } from "./shared/matmulParts.ts";

export interface ExpertPlanShape {
  [name: string]: number;
  experts: number;
  /** Rows of a tile: each expert's rows begin at a multiple of it. */
  tile: number;
}

/**
 * Deals out tokens to experts: expert [slots] (u32) names each slot's, a slot being a token's choice. Slots of one expert get rows behind
 * each other in their order, and each expert's rows are filled up to whole tiles, so that a product can take tile by tile, its expert
 * looked up. `rows` bounds that: slots, and a tile less one for each expert, in whole tiles.
 *   count [experts]       slots of each
 *   rowOf [slots]         each slot's row
 *   slotOf [rows]         each row's slot, 0xffffffff where it is there to fill up
 *   tiles [rows / tile]   each tile's expert, 0xffffffff behind the last
 *   segments [experts + 1] each expert's first row, and the row behind the last
 * A workgroup does one expert; it counts all of them for where its rows begin. Only whole numbers are added, so the order of lanes is nothing
 * to the result.
 */
export const expertPlan = kernel<ExpertPlanShape, { lanes: number }>({
  name: "expertPlan",
  bindings: { expert: "read", count: "write", rowOf: "write", slotOf: "write", tiles: "write", segments: "write" },
  types: () => ({ expert: "u32", count: "u32", rowOf: "u32", slotOf: "u32", tiles: "u32", segments: "u32" }),
  uniforms: { slots: "u32", rows: "u32" },
  sizes: ["slots"],
  tuning: { lanes: [256, 128, 64, 32, 16] },
  pick: (_, target: Target) => ({ lanes: target.class === "software" ? 16 : 256 }),
  workgroups: ({ experts }) => [experts],
  cost: ({ experts }, { slots, rows }) => ({ flops: 0, bytes: 4 * ((experts + 2) * slots + rows) }),
  wgsl: ({ experts, tile }, { lanes }) => `
    var<workgroup> counts: array<atomic<u32>, ${experts}>;
    var<workgroup> before: array<u32, ${lanes}>;

    fn padded(e: u32) -> u32 { return (atomicLoad(&counts[e]) + ${tile - 1}u) / ${tile}u * ${tile}u; }

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let own = group.x;
      for (var e = lane; e < ${experts}u; e += ${lanes}u) { atomicStore(&counts[e], 0u); }
      workgroupBarrier();
      let share = (u.slots + ${lanes - 1}u) / ${lanes}u;
      let first = lane * share;
      let end = min(first + share, u.slots);
      var mine = 0u;
      for (var slot = first; slot < end; slot++) {
        let e = min(expert[slot], ${experts - 1}u);
        atomicAdd(&counts[e], 1u);
        mine += select(0u, 1u, e == own);
      }
      before[lane] = mine;
      workgroupBarrier();

      var start = 0u;
      for (var e = 0u; e < own; e++) { start += padded(e); }
      var row = start;
      for (var l = 0u; l < lane; l++) { row += before[l]; }
      for (var slot = first; slot < end; slot++) {
        if (min(expert[slot], ${experts - 1}u) == own) {
          rowOf[slot] = row;
          slotOf[row] = slot;
          row++;
        }
      }
      let full = start + atomicLoad(&counts[own]);
      let behind = start + padded(own);
      for (var r = full + lane; r < behind; r += ${lanes}u) { slotOf[r] = ${NO_GROUP}u; }
      for (var t = start / ${tile}u + lane; t < behind / ${tile}u; t += ${lanes}u) { tiles[t] = own; }
      if (lane == 0u) {
        count[own] = atomicLoad(&counts[own]);
        segments[own] = start;
      }
      if (own < ${experts - 1}u) { return; }
      if (lane == 0u) { segments[${experts}] = behind; }
      for (var r = behind + lane; r < u.rows; r += ${lanes}u) { slotOf[r] = ${NO_GROUP}u; }
      for (var t = behind / ${tile}u + lane; t < u.rows / ${tile}u; t += ${lanes}u) { tiles[t] = ${NO_GROUP}u; }
    }`,
});
