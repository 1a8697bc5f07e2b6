import { DeviceError } from "./errors.ts";
import type { Provider } from "./provider.ts";
import { standardProvider } from "./provider-standard.ts";

interface DawnModule {
  create(flags: string[]): GPU;
  globals: Record<string, unknown>;
}

/**
 * Matrix units are an unsafe API. f16 on NVIDIA's cards is left out by Dawn under Vulkan, for faults that some drivers had (crbug.com/42251215);
 * without it there is no half precision and no matrix unit there. `openGpu` tries it before anything counts on it.
 */
const enabled = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia"];

/** The collection of what `create()` returns crashes the process, so it is held for good. */
const kept: GPU[] = [];

/**
 * The npm package `webgpu` (Dawn for N-API), for Bun, Node and Deno.
 * @throws DeviceError where the optional dependency is not installed or has no binary for this platform
 */
export async function dawn(): Promise<Provider> {
  let module: DawnModule;
  try {
    module = (await import("webgpu" as string)) as DawnModule;
  } catch (error) {
    throw new DeviceError(`the npm package webgpu does not load (${error instanceof Error ? error.message : error})`);
  }
  Object.assign(globalThis, module.globals);
  const toggles = `enable-dawn-features=${enabled.join()}`;
  const gpu = module.create([toggles, "disable-dawn-features=timestamp_quantization"]);
  kept.push(gpu);
  return standardProvider("dawn", gpu);
}
