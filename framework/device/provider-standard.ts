import type { Provider, ProviderName } from "./provider.ts";

/** A provider that follows the standard: handles are freed by garbage collection, only buffers are destroyed. */
export function standardProvider(name: ProviderName, gpu: GPU): Provider {
  return {
    name,
    gpu,
    requestAdapter: (options) => gpu.requestAdapter(options),
    requestDevice: (adapter, descriptor) => adapter.requestDevice(descriptor),
    releaseBuffer: (buffer) => buffer.destroy(),
    release: () => {},
    releasePass: () => {},
    releaseCommands: () => {},
    close: (device) => device.destroy(),
  };
}
