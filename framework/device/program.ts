import type { View } from "./bindings.ts";
import type { Uniforms } from "./kernel.ts";
import type { Plan } from "./plans.ts";
import type { Block } from "./pool.ts";

/** One launch of a program: all that was worked out when it was captured. */
export interface ProgramLaunch {
  plan: Plan;
  views: Record<string, View>;
  uniforms: Uniforms;
  grid: readonly [x: number, y: number, z: number];
  group: GPUBindGroup;
  /** Where its uniforms stand, and the submit before which they were written there. */
  offset: number;
  recording: number;
}

/**
 * Launches that were captured once, to be run again on the same buffers: the JavaScript that led to them (ops, shapes, tensors) is
 * gone, a microsecond a launch is left. What changes from run to run must live in buffers.
 */
export interface Program {
  readonly launches: readonly ProgramLaunch[];
  /** Its intermediate buffers. Nobody else gets them until it is released. */
  readonly blocks: readonly Block[];
  /** The bind-group cache's state that its groups are of. */
  generation: number;
}
