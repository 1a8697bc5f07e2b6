import { expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import { meet } from "../../kernels/meet.ts";
import { MEETING_WORDS } from "../../kernels/shared/meet.ts";
import { runKernel, testGpu } from "./launch.ts";

const { target } = await testGpu();
const cpu = target.class === "software" && target.subgroups;

async function run(groups: number, patience: number) {
  const arrays = { met: new Uint32Array(MEETING_WORDS), counts: new Uint32Array(groups) };
  const shape = { lanes: target.subgroupSize };
  const { met, counts } = await runKernel(meet, arrays, ["met", "counts"], shape, { groups, rounds: 50, patience });
  return { met: [...new Uint32Array(met.buffer)], counts: [...new Uint32Array(counts.buffer)] };
}

test.skipIf(!cpu)("workgroups, one for each core, wait for each other every time", async () => {
  const groups = availableParallelism();
  expect(await run(1, 0)).toEqual({ met: [0, 100, 0], counts: [50] });
  expect(await run(groups, 2 ** 28)).toEqual({ met: [0, 100, 0], counts: new Array(groups).fill(50) });
});

test.skipIf(!cpu)("where they can't, as more are launched than run together, they end and say so", async () => {
  const { met, counts } = await run(1000, 1000);
  expect(met[2]).toBe(1);
  expect(counts.some((rounds) => rounds < 50)).toBe(true);
});
