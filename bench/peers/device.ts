import type { Provider } from "../../framework/device/provider.ts";
import { init } from "../../framework/index.ts";
import { gpu } from "../../framework/tensor/engine.ts";

/** What went through the device so far. */
export interface Counts {
  dispatches: number;
  liveBytes: number;
  peakBytes: number;
}

/**
 * Opens this project's device, counts on it, and makes it the one that `navigator.gpu` hands out: every peer computes on the same
 * adapter, with the same limits and the same repairs of the provider.
 * @param own whether it is this engine that will compute, which frees its handles itself
 */
export async function sharedDevice(own: boolean): Promise<{ adapter: string; counts: Counts }> {
  const { name, device, adapter, provider } = await init();
  const counts = count(device);
  if (!own) freeHandles(device, provider);
  if (!own) copyShared(device.queue);
  put(adapter, "requestDevice", async () => device);
  put(provider.gpu, "requestAdapter", async () => adapter);
  put(navigator, "gpu", provider.gpu);
  declareInterfaces(device);
  return { adapter: name, counts };
}

/** Waits for the device, and fails where anything on it went wrong: peers themselves do not look. */
export const checkDevice = () => gpu().finish();

/** Sets a property of an object whose class may not let it be assigned. */
export function put(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, configurable: true, writable: true });
}

function count(device: GPUDevice): Counts {
  const counts: Counts = { dispatches: 0, liveBytes: 0, peakBytes: 0 };
  const createBuffer = device.createBuffer.bind(device);
  put(device, "createBuffer", (descriptor: GPUBufferDescriptor) => {
    const buffer = createBuffer(descriptor);
    const destroy = buffer.destroy.bind(buffer);
    let bytes = descriptor.size;
    counts.liveBytes += bytes;
    counts.peakBytes = Math.max(counts.peakBytes, counts.liveBytes);
    put(buffer, "destroy", () => {
      counts.liveBytes -= bytes;
      bytes = 0; // a second call frees nothing more
      destroy();
    });
    return buffer;
  });
  const createCommandEncoder = device.createCommandEncoder.bind(device);
  put(device, "createCommandEncoder", (descriptor?: GPUCommandEncoderDescriptor) => {
    const encoder = createCommandEncoder(descriptor);
    const beginComputePass = encoder.beginComputePass.bind(encoder);
    put(encoder, "beginComputePass", (options?: GPUComputePassDescriptor) => {
      const pass = beginComputePass(options);
      const dispatch = pass.dispatchWorkgroups.bind(pass);
      put(pass, "dispatchWorkgroups", (x: number, y?: number, z?: number) => {
        counts.dispatches++;
        dispatch(x, y ?? 1, z ?? 1);
      });
      return pass;
    });
    return encoder;
  });
  return counts;
}

/**
 * Frees what bun-webgpu never does and peers cannot: bind groups (of which llvmpipe crashes at some 65,000) and command buffers, once
 * they are submitted. None of the peers uses one twice.
 */
function freeHandles(device: GPUDevice, provider: Provider): void {
  const createBindGroup = device.createBindGroup.bind(device);
  const submit = device.queue.submit.bind(device.queue);
  const groups: GPUBindGroup[] = [];
  put(device, "createBindGroup", (descriptor: GPUBindGroupDescriptor) => {
    const group = createBindGroup(descriptor);
    groups.push(group);
    return group;
  });
  put(device.queue, "submit", (commands: GPUCommandBuffer[]) => {
    submit(commands);
    for (const group of groups.splice(0)) provider.release(group);
    for (const buffer of commands) provider.releaseCommands(buffer);
  });
}

/** bun-webgpu writes no memory that threads share, and onnxruntime-web's wasm has no other: a copy is written. */
function copyShared(queue: GPUQueue): void {
  const write = queue.writeBuffer.bind(queue);
  put(queue, "writeBuffer", (buffer: GPUBuffer, at: number, data: ArrayBufferView, from = 0, count?: number) => {
    const shared = ArrayBuffer.isView(data) && data.buffer instanceof SharedArrayBuffer;
    if (!shared) return write(buffer, at, data as GPUAllowSharedBufferSource, from, count);
    const unit = "BYTES_PER_ELEMENT" in data ? Number(data.BYTES_PER_ELEMENT) : 1;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    write(buffer, at, bytes.slice(from * unit, count === undefined ? undefined : (from + count) * unit));
  });
}

/** Classes that browsers have and that TensorFlow.js asks `instanceof` of. */
function declareInterfaces(device: GPUDevice): void {
  const buffer = device.createBuffer({ size: 16, usage: 0x88 }); // STORAGE | COPY_DST
  const known: Record<string, unknown> = {
    GPUBuffer: buffer.constructor,
    GPUDevice: device.constructor,
    GPUQueue: device.queue.constructor,
  };
  buffer.destroy();
  const absent = ["GPUTexture", "GPUExternalTexture", "HTMLVideoElement", "HTMLImageElement", "HTMLCanvasElement"];
  const others = ["ImageBitmap", "ImageData", "OffscreenCanvas", "VideoFrame"];
  const names = [...Object.keys(known), ...absent, ...others];
  for (const name of names) if (!(name in globalThis)) put(globalThis, name, known[name] ?? class {});
}
