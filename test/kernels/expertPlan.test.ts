import { expect, test } from "bun:test";
import { expertPlan } from "../../kernels/expertPlan.ts";
import { NO_GROUP } from "../../kernels/shared/matmulParts.ts";
import { runKernel, testGpu } from "./launch.ts";

const { target } = await testGpu();
const lanes = { software: 16, gpu: 256 };

/** What the kernel must give, in plain steps. */
function reference(expert: number[], experts: number, tile: number, rows: number) {
  const plan = {
    count: new Array(experts).fill(0),
    rowOf: new Array(expert.length).fill(0),
    slotOf: new Array(rows).fill(NO_GROUP),
    tiles: new Array(rows / tile).fill(NO_GROUP),
    segments: [0],
  };
  let row = 0;
  for (let e = 0; e < experts; e++) {
    const first = row;
    for (const [slot, own] of expert.entries())
      if (own === e) {
        plan.count[e]++;
        plan.rowOf[slot] = row;
        plan.slotOf[row++] = slot;
      }
    row = Math.ceil(row / tile) * tile;
    plan.tiles.fill(e, first / tile, row / tile);
    plan.segments.push(row);
  }
  return plan;
}

for (const width of Object.values(lanes))
  test.each([
    [100, 4, 8],
    [7, 3, 4],
    [64, 16, 4],
    [40, 1, 32],
  ])(`%p slots, %p experts, tiles of %p: sorted and counted by ${width} lanes`, async (slots, experts, tile) => {
    // Most go to one expert, some experts get none.
    const expert = Array.from({ length: slots }, (_, i) => (i % 3 ? (i * 7) % experts : experts >> 1));
    const rows = tile * Math.floor((slots + experts * (tile - 1)) / tile);
    const plan = reference(expert, experts, tile, rows);
    const arrays = Object.fromEntries(
      Object.entries(plan).map(([name, { length }]) => [name, new Uint32Array(length).fill(9)]),
    );
    const given = await runKernel(
      expertPlan,
      { expert: Uint32Array.from(expert), ...arrays },
      Object.keys(plan),
      { experts, tile },
      { slots, rows },
      { lanes: width },
    );
    for (const [name, expected] of Object.entries(plan))
      expect([name, ...new Uint32Array(given[name].buffer)]).toEqual([name, ...expected]);
  });

test("the pick fits the adapter", () => {
  expect(expertPlan.pick!({ experts: 4, tile: 4 }, { ...target, class: "portable" })).toEqual({ lanes: lanes.gpu });
});
