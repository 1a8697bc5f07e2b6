import { DeviceError } from "../device/errors.ts";
import type { Gpu } from "../device/gpu.ts";
import { type OpenOptions, openGpu, summary } from "../device/open.ts";

let current: Gpu | undefined;
let opening: Promise<Gpu> | undefined;

export interface InitOptions extends OpenOptions {
  /** Prints a line that says what the adapter is (default false). */
  verbose?: boolean;
}

/**
 * Opens the GPU. Call it once before the first tensor; a second call hands back the same device.
 * @throws DeviceError where there is no adapter that computes, with what to install
 */
export async function init(options: InitOptions = {}): Promise<Gpu> {
  opening ??= openGpu(options);
  try {
    current = await opening;
  } catch (error) {
    opening = undefined;
    throw error;
  }
  if (options.verbose) console.log(summary(current));
  return current;
}

/** The device of all tensors. @throws DeviceError before {@link init} */
export function gpu(): Gpu {
  if (!current) throw new DeviceError("no device yet: call `await init()` before the first tensor");
  return current;
}

/** Makes a device that was opened otherwise the one of all tensors: how benches put a dry one in its place. */
export function useGpu(gpu: Gpu): void {
  current = gpu;
  opening = Promise.resolve(gpu);
}

/** Releases the device and all tensors on it. */
export function shutdown(): void {
  current?.close();
  current = undefined;
  opening = undefined;
}
