/** Words of the buffer by which workgroups meet: how many have come, how often all had, and whether one waited in vain. Zero at first. */
export const MEETING_WORDS = 3;

/**
 * WGSL `meet(lane, groups, patience)`: each of a launch's workgroups goes on when all have come, and sees what the others wrote before. WebGPU does
 * not promise that workgroups run side by side; where they don't, none comes after `patience` looks, and `met[2]` says so for good. A
 * workgroup is one subgroup, whose lanes go in step. Needs a binding `met: array<atomic<u32>>`.
 */
export const meetFunction = `
    fn meet(lane: u32, groups: u32, patience: u32) {
      if (lane > 0u) { return; }
      let round = atomicAdd(&met[1], 0u); // adding nothing: a load could be taken out of the loop
      if (atomicAdd(&met[0], 1u) == groups - 1u) {
        atomicStore(&met[0], 0u);
        atomicAdd(&met[1], 1u);
        return;
      }
      for (var looks = 0u; atomicAdd(&met[1], 0u) == round; looks++) {
        if (looks == patience || atomicAdd(&met[2], 0u) > 0u) { atomicStore(&met[2], 1u); return; }
      }
    }`;
