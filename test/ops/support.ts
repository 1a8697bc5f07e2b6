import { afterAll, beforeAll } from "bun:test";
import type { Gpu } from "../../framework/device/gpu.ts";
import { init, useGpu } from "../../framework/tensor/engine.ts";
import "../../framework/ops/methods.ts";
import { sizeOf } from "../../framework/tensor/shape.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { noise, worst } from "../kernels/launch.ts";

export { noise, worst };
export const gpu = await init();

/** The file's tests, or those of the `describe` around it, run on this device. */
export function runOn(other: Gpu): void {
  beforeAll(() => useGpu(other));
  afterAll(() => useGpu(gpu));
}

/** A tensor of deterministic numbers that wants a gradient. */
export function input(shape: readonly number[], seed = 1, { scale = 1, shift = 0 } = {}): Tensor {
  const x = Tensor.from(
    noise(sizeOf(shape), seed).map((v) => v * scale + shift),
    { shape },
  );
  x.requiresGrad = true;
  return x;
}

/** Frees what earlier tests let go of, which would otherwise be freed some time later and counted in {@link leftBehind}. */
export async function collectGarbage(): Promise<void> {
  Bun.gc(true);
  await Bun.sleep(1);
}

/** Live buffers that a piece of work leaves behind. */
export async function leftBehind(work: () => unknown): Promise<number> {
  const before = gpu.pool.stats.liveBuffers;
  await work();
  return gpu.pool.stats.liveBuffers - before;
}
