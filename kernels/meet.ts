import { kernel } from "../framework/device/kernel.ts";
import { meetFunction } from "./shared/meet.ts";

export interface MeetShape {
  [name: string]: number;
  /** Of a workgroup, which is one subgroup. */
  lanes: number;
}

/**
 * Lets `groups` workgroups meet `rounds` times: whether a driver runs so many side by side, and what a meeting costs. Each counts in its own place
 * of `counts` the rounds in which it saw its neighbour come as far.
 */
export const meet = kernel<MeetShape>({
  name: "meet",
  bindings: { met: "update", counts: "update" },
  types: () => ({ met: "atomic<u32>", counts: "u32" }),
  uniforms: { groups: "u32", rounds: "u32", patience: "u32" },
  workgroups: (_, __, { groups }) => [groups],
  cost: (_, { groups, rounds }) => ({ flops: 0, bytes: 8 * groups * rounds }),
  wgsl: ({ lanes }) => `
    ${meetFunction}

    @compute @workgroup_size(${lanes})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let next = (group.x + 1u) % u.groups;
      for (var round = 0u; round < u.rounds; round++) {
        if (lane == 0u && counts[group.x] == round) { counts[group.x] = round + 1u; }
        meet(lane, u.groups, u.patience);
        if (lane == 0u && counts[next] <= round) { counts[group.x] = 0u; }
        meet(lane, u.groups, u.patience);
      }
    }`,
});
