import { Gpu } from "../framework/device/gpu.ts";
import { standardProvider } from "../framework/device/provider-standard.ts";
import { useGpu } from "../framework/tensor/engine.ts";

/** What the engine asks of an adapter when it decides how to compute. */
export interface Pretended {
  info: Partial<GPUAdapterInfo>;
  features: Iterable<string>;
  limits: Record<string, number>;
}

/** A GPU of today, and limits that its drivers give. */
const someGpu: Pretended = {
  info: { vendor: "none", description: "a GPU", subgroupMinSize: 32, subgroupMaxSize: 32 },
  features: ["shader-f16", "subgroups"],
  limits: {
    maxBufferSize: 2 ** 32,
    maxStorageBufferBindingSize: 2 ** 31 - 4,
    maxComputeWorkgroupStorageSize: 49152,
    maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupSizeX: 1024,
    maxComputeWorkgroupsPerDimension: 65535,
    maxStorageBuffersPerShaderStage: 10,
    minUniformBufferOffsetAlignment: 256,
  },
};

/**
 * Makes an engine without a device the one of all tensors: allocation, order and lifetimes are the engine's own, but no buffer is created,
 * launches and uploads do nothing, and a read is an error. So a plan's memory is known on a machine that could not run it.
 */
export function dryGpu({ info, features, limits }: Pretended = someGpu): Gpu {
  const nothing = () => {};
  const pass = { setPipeline: nothing, setBindGroup: nothing, dispatchWorkgroups: nothing, end: nothing };
  const encoder = {
    beginComputePass: () => pass,
    copyBufferToBuffer: nothing,
    clearBuffer: nothing,
    finish: () => ({}),
  };
  const device = {
    limits,
    features: new Set(features),
    lost: new Promise(nothing),
    queue: { writeBuffer: nothing, submit: nothing, onSubmittedWorkDone: async () => {} },
    pushErrorScope: nothing,
    popErrorScope: async () => null,
    createBuffer: ({ size }: GPUBufferDescriptor) => ({ size, destroy: nothing, mapAsync: refuseRead }),
    createCommandEncoder: () => encoder,
    createShaderModule: () => ({}),
    createComputePipeline: () => ({}),
    createBindGroupLayout: () => ({}),
    createPipelineLayout: () => ({}),
    createBindGroup: () => ({}),
    destroy: nothing,
  } as unknown as GPUDevice;
  const adapter = { info, features: device.features, limits } as unknown as GPUAdapter;
  const gpu = new Gpu(standardProvider("navigator", {} as GPU), adapter, device);
  useGpu(gpu);
  return gpu;
}

async function refuseRead(): Promise<never> {
  throw new Error("a dry run computes nothing, so nothing can be read");
}
