import { DeviceError } from "./errors.ts";
import { standardProvider } from "./provider-standard.ts";

/**
 * Where WebGPU comes from, and how its handles are released. Everything above is written to the standard `GPU`
 * interface; what a provider gets wrong is mended here and nowhere else.
 */
export interface Provider {
  name: ProviderName;
  gpu: GPU;
  requestAdapter(options: GPURequestAdapterOptions): Promise<GPUAdapter | null>;
  requestDevice(adapter: GPUAdapter, descriptor: GPUDeviceDescriptor): Promise<GPUDevice>;
  releaseBuffer(buffer: GPUBuffer): void;
  release(handle: GPUBindGroup | GPUComputePipeline | GPUShaderModule | GPUQuerySet): void;
  releasePass(pass: GPUComputePassEncoder): void;
  releaseCommands(commands: GPUCommandBuffer): void;
  /** Destroys the device and stops whatever would keep the process alive. */
  close(device: GPUDevice): void;
}

export type ProviderName = "bun-webgpu" | "dawn" | "navigator";
export const providerNames: ProviderName[] = ["bun-webgpu", "dawn", "navigator"];

/** Loads the provider asked for (`MICROMIND_GPU` when silent), or the first of this runtime's that loads. */
export async function loadProvider(name?: string): Promise<Provider> {
  const wanted = name ?? process.env.MICROMIND_GPU;
  if (wanted) {
    if (!providerNames.includes(wanted as ProviderName)) {
      throw new DeviceError(`MICROMIND_GPU: "${wanted}" is no provider, expected one of ${providerNames.join(", ")}`);
    }
    return loaders[wanted as ProviderName]();
  }
  const order: ProviderName[] = "Bun" in globalThis ? ["bun-webgpu", "dawn"] : ["navigator", "dawn"];
  const failures: string[] = [];
  for (const candidate of order) {
    try {
      const provider = await loaders[candidate]();
      if (failures.length) console.error(`device: ${failures.join("; ")}; using ${candidate}`);
      return provider;
    } catch (error) {
      failures.push(`${candidate}: ${error instanceof Error ? error.message : error}`);
    }
  }
  throw new DeviceError(`no WebGPU provider loads on this machine (${failures.join("; ")}). Run sh setup.sh`);
}

const loaders: Record<ProviderName, () => Promise<Provider>> = {
  "bun-webgpu": async () => (await import("./provider-bun.ts")).bunWebgpu(),
  dawn: async () => (await import("./provider-dawn.ts")).dawn(),
  navigator: async () => {
    const gpu = (globalThis as { navigator?: { gpu?: GPU } }).navigator?.gpu;
    if (!gpu) throw new DeviceError("navigator.gpu is missing in this runtime");
    return standardProvider("navigator", gpu);
  },
};
