import { gpu } from "../framework/tensor/engine.ts";
import { trainer } from "./step.ts";

export interface SoakResult {
  steps: number;
  flat: boolean;
  residentMB: number[];
  liveBuffers: number[];
  bindGroups: number[];
}

const SAMPLES = 10;

/**
 * Trains for many steps and watches what may not grow: resident memory after the first fifth (by 5% or 16 MB at most), live
 * buffers and bind groups (not at all).
 */
export async function soak(steps: number, say: (line: string) => void): Promise<SoakResult> {
  const { optimizer, step } = trainer({ preset: "tiny", batch: 1, length: 32 });
  const result: SoakResult = { steps, flat: true, residentMB: [], liveBuffers: [], bindGroups: [] };
  const every = Math.max(1, Math.floor(steps / SAMPLES));
  for (let i = 1; i <= steps; i++) {
    const loss = step();
    if (i % every === 0) {
      const { loss: value } = await optimizer.report(loss);
      const resident = process.memoryUsage.rss() / 2 ** 20;
      result.residentMB.push(Math.round(resident));
      result.liveBuffers.push(gpu().pool.stats.liveBuffers);
      result.bindGroups.push(gpu().stats.bindGroups);
      say(
        `step ${i}: loss ${value.toFixed(3)}, ${resident.toFixed(0)} MB resident, ${gpu().pool.stats.liveBuffers} buffers, ${gpu().stats.bindGroups} bind groups`,
      );
    } else if (i % 8 === 0) await gpu().finish(); // the recording may not run away from the device
    loss.dispose();
  }
  const settled = Math.ceil(SAMPLES / 5);
  const constant = (xs: number[]) => new Set(xs.slice(settled)).size <= 1;
  const grown = Math.max(...result.residentMB.slice(settled)) - result.residentMB[settled];
  result.flat =
    constant(result.liveBuffers) &&
    constant(result.bindGroups) &&
    grown <= Math.max(16, 0.05 * result.residentMB[settled]);
  say(result.flat ? "flat: nothing grew" : `NOT flat: resident memory grew by ${grown} MB, or handles changed`);
  return result;
}
