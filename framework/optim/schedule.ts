/** What a schedule is given: all in steps, counted from 0, and the peak rate. */
export interface ScheduleOptions {
  learningRate: number;
  total: number;
  /** Steps of linear rise from 0 at the start. */
  warmup?: number;
  /** What cosine, linear and wsd end at, as a share of the peak. */
  floor?: number;
  /** wsd: the share of the steps in which the rate falls at the end. */
  decay?: number;
}

export type ScheduleName = keyof typeof shapes;

/** The share of the peak rate at `progress` (0 to 1) after the warm-up. */
const shapes = {
  constant: () => 1,
  linear: (progress: number, { floor = 0 }: ScheduleOptions) => 1 - (1 - floor) * progress,
  /** Loshchilov & Hutter 2016, arXiv:1608.03983 */
  cosine: (progress: number, { floor = 0.1 }: ScheduleOptions) =>
    floor + (1 - floor) * 0.5 * (1 + Math.cos(Math.PI * progress)),
  /** Warm-up, stable, decay. Hu et al. 2024, arXiv:2404.06395 */
  wsd: (progress: number, { floor = 0, decay = 0.2 }: ScheduleOptions) =>
    progress < 1 - decay ? 1 : 1 - (1 - floor) * ((progress - 1 + decay) / decay),
};

export const scheduleNames = Object.keys(shapes) as ScheduleName[];

/** The learning rate of one step. */
export function learningRateAt(name: ScheduleName, step: number, options: ScheduleOptions): number {
  const { learningRate, total, warmup = 0 } = options;
  if (step < warmup) return (learningRate * (step + 1)) / warmup;
  const progress = total > warmup ? Math.min((step - warmup) / (total - warmup), 1) : 1;
  return learningRate * shapes[name](progress, options);
}
