import { availableParallelism } from "node:os";
import { meet } from "../../kernels/meet.ts";
import { MEETING_WORDS } from "../../kernels/shared/meet.ts";
import type { Gpu } from "../device/gpu.ts";
import { gpu } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { fill } from "./elementwise.ts";

const MOST = 16; // a driver has no more than 32 threads, and memory feeds no more
const TRIALS = 2;
const ROUNDS = 64;
const PATIENCE = 1 << 20; // looks: some milliseconds, longer than others hold a core

const found = new WeakMap<Gpu, number>();
const searches = new WeakMap<Gpu, Promise<void>>();

/** How many workgroups wait for each other in one launch, as {@link findMeeting} saw; 0 before, and where they do not. */
export const meeting = (): number => found.get(gpu()) ?? 0;

/** Sets what {@link meeting} says: 0 where no launch is to wait for its workgroups. */
export const setMeeting = (groups: number): void => void found.set(gpu(), groups);

/** What workgroups meet by: u32, all zero (see `kernels/shared/meet.ts`). */
export const meetingPlace = (): Tensor => fill(Tensor.empty([MEETING_WORDS], "u32", "meeting"), 0);

/**
 * Tries whether as many workgroups as there are cores run side by side and wait for each other, so that what is several launches otherwise may be
 * one. On CPUs only: GPUs promise nothing of the kind, and their launches are cheap. Whether it is faster, their user finds out (`Pace`).
 */
export function findMeeting(): Promise<void> {
  const own = gpu();
  const search = searches.get(own) ?? seek().finally(() => searches.delete(own));
  searches.set(own, search); // whoever comes meanwhile waits for the same answer
  return search;
}

async function seek(): Promise<void> {
  const { target } = gpu();
  const groups = Math.min(availableParallelism(), MOST);
  if (found.has(gpu()) || target.class !== "software" || !target.subgroups || target.subgroupSize < 2) return;
  for (let trial = 0; trial < TRIALS; trial++) {
    if (await allMeet(groups, target.subgroupSize)) return setMeeting(groups);
  }
  setMeeting(0);
}

async function allMeet(groups: number, lanes: number): Promise<boolean> {
  const counts = scope(() => {
    const counts = fill(Tensor.empty([groups], "u32", "meeting.counts"), 0);
    const views = { met: meetingPlace().view(), counts: counts.view() };
    gpu().launch(meet, views, { lanes }, { groups, rounds: ROUNDS, patience: PATIENCE });
    return counts;
  });
  const met = await counts.data();
  counts.dispose();
  return met.every((rounds) => rounds === ROUNDS);
}
