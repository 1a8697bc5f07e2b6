/** Chooses tunings by measurement, on launches that a program makes. */
import type { Launch } from "./collect.ts";
import type { Gpu } from "./gpu.ts";
import { defaultTuning, roundedSizes, type Tuning, tuningSpace } from "./kernel.ts";
import { isFatal, Trial } from "./trial.ts";

export interface TuneOptions {
  /** Time for all launches together, dealt out by the root of their work; one that is being compiled is waited for. */
  budgetMs: number;
  onProgress?: (elapsedMs: number, launch: Launch) => void;
  /** Whether the adapter's file is written (default true). */
  save?: boolean;
}

export interface Tuned {
  launch: Launch;
  winner: Tuning;
  ms: number;
  /** What the kernel picks by itself. */
  standard: Tuning;
  standardMs: number;
  /** Points that were measured, of all; those that failed or computed something else. */
  tried: number;
  points: number;
  refused: Tuning[];
  /** Whether there was time to compare; where not, what held before holds. */
  compared: boolean;
}

const SLOW = 1.5; // times the best: out after one measurement
const CLOSE = 1.15; // times the best: measured again at the end
const BETTER = 0.97; // of the standard's time: what a winner must reach, noise being what it is
const ROUNDS = 5;
const ROUNDS_SHARE = 1 / 3; // of a launch's time, for measuring the best side by side

/**
 * Measures the tuning space of each launch, those near the kernel's own choice and near the best so far first, and keeps the
 * fastest point that computes what the kernel's own choice computes. Launches are planned with the winners from here on.
 */
export async function tune(gpu: Gpu, launches: readonly Launch[], options: TuneOptions): Promise<Tuned[]> {
  const { budgetMs, onProgress, save = true } = options;
  const begun = performance.now();
  const byWork = launches.toSorted((a, b) => work(b) - work(a));
  const weights = byWork.map((launch) => Math.sqrt(work(launch)) || 1); // more for more work, and something for each
  const results: Tuned[] = [];
  let keeps = save;
  const explore = async () => {
    for (const [i, launch] of byWork.entries()) {
      const left = budgetMs - (performance.now() - begun);
      if (left <= 0) break;
      onProgress?.(budgetMs - left, launch);
      const share = weights[i] / weights.slice(i).reduce((sum, weight) => sum + weight);
      const result = await tuneOne(gpu, launch, performance.now() + left * share);
      if (!result) continue;
      results.push(result);
      if (!result.compared) continue;
      const { kernel, shape, uniforms } = launch;
      gpu.winners?.set(kernel, shape, uniforms, gpu.target, result.winner, result.ms * 1000);
      if (keeps) keeps = gpu.winners?.save() ?? false; // each at once: whoever stops it keeps what was measured
    }
  };
  await gpu.experiment(explore, byWork);
  gpu.trim();
  return results;
}

const work = ({ kernel, shape, uniforms, count }: Launch) => {
  const { flops, bytes } = kernel.cost(shape, uniforms);
  return count * (flops + 8 * bytes);
};

/** Other work on the machine only adds to a time, so the least of several is nearest to the kernel's own. */
const least = (times: readonly number[]) => Math.min(...times);

/** Of none: infinite, for one fast time may be another program's moment of rest. */
const middle = (ratios: readonly number[]) =>
  ratios.toSorted((a, b) => a - b)[ratios.length >> 1] ?? Number.POSITIVE_INFINITY;

interface Measured {
  tuning: Tuning;
  times: number[];
}

/** Nothing where not even the kernel's own choice runs, as without memory for it. */
async function tuneOne(gpu: Gpu, launch: Launch, deadline: number): Promise<Tuned | undefined> {
  const { kernel, shape, uniforms } = launch;
  const standard = defaultTuning(kernel, shape, gpu.target, roundedSizes(kernel, uniforms));
  const points = tuningSpace(kernel, shape, gpu.target);
  let trial: Trial | undefined;
  try {
    trial = new Trial(gpu, launch, standard);
    if (!(await trial.agrees(standard))) return undefined; // never the same twice: nothing can be compared
    const known = gpu.winners?.find(kernel, shape, uniforms, gpu.target)?.tuning;
    const seeds = known ? [standard, known] : [standard];
    const searchEnd = deadline - ROUNDS_SHARE * (deadline - performance.now());
    const { measured, refused } = await search(trial, points, seeds, searchEnd);
    const own = measured[0];
    const close = finalists(measured, own);
    const rounds = await sideBySide(trial, close, deadline);
    const ownAt = close.indexOf(own);
    const usuallyFaster = close.filter((_, i) => middle(rounds.map((round) => round[i] / round[ownAt])) <= 1);
    const best = usuallyFaster.reduce((a, b) => (least(b.times) < least(a.times) ? b : a), own);
    const winner = least(best.times) < BETTER * least(own.times) ? best : own;
    const standardMs = least(own.times);
    const compared = rounds.length > 0 || (close.length === 1 && (measured.length > 1 || points.length === 1));
    return {
      ...{ launch, winner: winner.tuning, ms: least(winner.times), standard, standardMs },
      ...{ tried: measured.length, points: points.length, refused, compared },
    };
  } catch (error) {
    if (isFatal(error)) throw error;
    return undefined;
  } finally {
    trial?.close();
  }
}

/** Measures the seeds, then always the point that is nearest to the best so far. The kernel's own choice comes first. */
async function search(trial: Trial, points: readonly Tuning[], seeds: Tuning[], deadline: number) {
  const measured: Measured[] = [];
  const refused: Tuning[] = [];
  const left = new Map(points.map((point) => [keyOf(point), point]));
  let best: Measured | undefined;
  while (!best || performance.now() < deadline) {
    const tuning = seeds.shift() ?? nearest([...left.values()], best?.tuning ?? {});
    if (!tuning) break;
    if (!left.delete(keyOf(tuning)) && best) continue; // a seed that is measured, or no point any more
    const point = await measure(trial, tuning, best && least(best.times));
    if (point) measured.push(point);
    else refused.push(tuning);
    if (!point && !best) throw new Error(`${trial.launch.kernel.name} does not run under its own choice`);
    if (point && (!best || least(point.times) < least(best.times))) best = point;
  }
  return { measured, refused };
}

async function measure(trial: Trial, tuning: Tuning, bestMs?: number): Promise<Measured | undefined> {
  try {
    await trial.compile(tuning);
    if (!(await trial.agrees(tuning))) return undefined;
    const first = await trial.time(tuning, bestMs); // the comparison was its warm-up
    if (bestMs !== undefined && first > SLOW * bestMs) return { tuning, times: [first] };
    return { tuning, times: [first, await trial.time(tuning, first), await trial.time(tuning, first)] };
  } catch (error) {
    if (isFatal(error)) throw error;
    return undefined;
  }
}

function finalists(measured: Measured[], own: Measured): Measured[] {
  const best = Math.min(...measured.map(({ times }) => least(times)));
  return measured.filter((point) => point === own || least(point.times) <= CLOSE * best);
}

/** Times of the points round by round, which are added to theirs. Other work on the machine may spoil a round, seldom most of them. */
async function sideBySide(trial: Trial, points: readonly Measured[], deadline: number): Promise<number[][]> {
  const rounds: number[][] = [];
  while (rounds.length < ROUNDS && points.length > 1 && performance.now() < deadline) {
    const round: number[] = [];
    for (const { tuning, times } of points) round.push(await trial.time(tuning, times[0]));
    for (const [i, { times }] of points.entries()) times.push(round[i]);
    rounds.push(round);
  }
  return rounds;
}

const keyOf = (tuning: Tuning) => JSON.stringify(Object.entries(tuning).sort(([a], [b]) => (a < b ? -1 : 1)));

function nearest(points: readonly Tuning[], to: Tuning): Tuning | undefined {
  const far = (point: Tuning) =>
    [...new Set([...Object.keys(point), ...Object.keys(to)])].reduce(
      (sum, key) => sum + Math.abs(Math.log2(((point[key] ?? 0) + 1) / ((to[key] ?? 0) + 1))),
      0,
    );
  return points.reduce<Tuning | undefined>((a, b) => (a === undefined || far(b) < far(a) ? b : a), undefined);
}
