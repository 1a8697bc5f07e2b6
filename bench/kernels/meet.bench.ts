import { availableParallelism } from "node:os";
import { meet } from "../../kernels/meet.ts";
import { MEETING_WORDS } from "../../kernels/shared/meet.ts";
import { kernelCase } from "../case.ts";

/** A launch without meetings, and one of a hundred: a hundredth of the difference is what a meeting costs. */
export default [0, 50].map((rounds) => {
  const groups = availableParallelism();
  const buffers = { met: new Uint32Array(MEETING_WORDS), counts: new Uint32Array(groups) };
  const uniforms = { groups, rounds, patience: 1 << 20 };
  const label = `${groups} workgroups, ${2 * rounds} meetings`;
  return { ...kernelCase(meet, label, { lanes: 8 }, buffers, uniforms), software: true };
});
