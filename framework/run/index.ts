export { type Config, type ConfigureOptions, configure, runKeys } from "./config.ts";
export { ConfigError, DivergedError } from "./errors.ts";
export { progressBar } from "./live.ts";
export { main } from "./main.ts";
export { Run, type StepsOptions } from "./run.ts";
export { type ConfigOf, count, key } from "./schema.ts";
export { latestState, type SavedState, type StateToSave, saveState } from "./state.ts";
export { applyTunings, tuneModes, tuneStep } from "./tuning.ts";
