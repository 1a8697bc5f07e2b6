export { clipGradNorm } from "./clip.ts";
export {
  AdamW,
  type AdamWOptions,
  Optimizer,
  type Precision,
  precisions,
  SGD,
  type SGDOptions,
  type StepOptions,
  type StepReport,
} from "./optimizer.ts";
export { learningRateAt, type ScheduleName, type ScheduleOptions, scheduleNames } from "./schedule.ts";
