// bun-webgpu hands out raw native handles; this file is the one place that touches them.
import { availableParallelism } from "node:os";
import type { Provider } from "./provider.ts";

interface Handle {
  ptr: number | null;
  destroy(): void;
}
interface Ticker {
  _ticking: boolean;
  hasWaiting(): boolean;
  processEvents(): void;
  scheduleTick(): void;
}
interface BunDevice extends GPUDevice {
  _features: ReadonlySet<string> | null;
  instanceTicker: Ticker;
  lib: {
    wgpuBufferRelease(ptr: number): void;
    wgpuComputePassEncoderRelease(ptr: number): void;
    wgpuQuerySetRelease(ptr: number): void;
  };
}

/** Limits that the adapter does not report and that must be passed all the same, or any `requiredLimits` is refused. */
const unreported = [
  "maxStorageBuffersInVertexStage",
  "maxStorageBuffersInFragmentStage",
  "maxStorageTexturesInVertexStage",
  "maxStorageTexturesInFragmentStage",
];

/** While work is pending bun-webgpu polls in a loop that takes a core: poll hard for this long, then once a millisecond. */
const SPIN_MS = 2;

export async function bunWebgpu(): Promise<Provider> {
  await evenOutThreads();
  const { createGPUInstance, globals } = await import("bun-webgpu");
  globals();
  const gpu = createGPUInstance() as unknown as GPU;
  let lib: BunDevice["lib"];

  /** Frees a handle once: a second release aborts the process. */
  const once = (handle: unknown, free: (h: Handle) => void) => {
    const h = handle as Handle;
    if (!h.ptr) return;
    free(h);
    h.ptr = null;
  };

  return {
    name: "bun-webgpu",
    gpu,
    requestAdapter: (options) => gpu.requestAdapter(options),
    async requestDevice(adapter, descriptor) {
      const chain = await togglesOff("timestamp_quantization");
      const requiredLimits = {
        ...Object.fromEntries(unreported.map((name) => [name, 0])),
        ...descriptor.requiredLimits,
      };
      const full = { ...descriptor, requiredLimits, nextInChain: chain.pointer } as GPUDeviceDescriptor;
      const request = () => adapter.requestDevice(full) as Promise<BunDevice>;
      const device = await request().catch(request); // a garbage collection may take what was packed: once more, then
      kept.push(chain.memory);
      // Read from the device they come out of memory that a garbage collection may have taken: now and then as none at all.
      device._features = new Set(descriptor.requiredFeatures);
      lib = device.lib;
      calmTicker(device.instanceTicker);
      return device;
    },
    releaseBuffer: (buffer) =>
      once(buffer, (h) => {
        const { ptr } = h;
        buffer.destroy();
        lib.wgpuBufferRelease(ptr as number);
      }),
    release: (handle) =>
      once(handle, (h) => {
        const { ptr } = h;
        h.destroy();
        if ("type" in h) lib.wgpuQuerySetRelease(ptr as number);
      }),
    releasePass: (pass) => once(pass, (h) => lib.wgpuComputePassEncoderRelease(h.ptr as number)),
    releaseCommands: (commands) => once(commands, (h) => (h as unknown as { _destroy(): void })._destroy()),
    close: (device) => device.destroy(),
  };
}

/** What native code holds pointers to, kept from collection. */
const kept: unknown[] = [];

/** Dawn's toggles that a device is made without, as a chained descriptor: next, sType, enabled (count, names), disabled (count, names). */
async function togglesOff(...names: string[]): Promise<{ pointer: number; memory: unknown[] }> {
  const { ptr } = await import("bun:ffi");
  const strings = names.map((name) => new TextEncoder().encode(`${name}\0`));
  const list = BigUint64Array.from(strings, (s) => BigInt(ptr(s)));
  const descriptor = BigUint64Array.of(0n, 0x5000an, 0n, 0n, BigInt(names.length), BigInt(ptr(list)));
  return { pointer: ptr(descriptor), memory: [strings, list, descriptor] };
}

const FEW_CORES = 4;

/**
 * llvmpipe deals a launch out to its threads in equal parts and waits for the last. With a thread for each core Linux often puts two on one;
 * with two threads a core a decoding step takes a tenth less, and training no more (measured on two cores). Drivers read the
 * process' own environment, which `process.env` does not reach; what is set there stays.
 */
async function evenOutThreads(): Promise<void> {
  const cores = availableParallelism();
  if (process.platform !== "linux" || cores === 1 || cores > FEW_CORES) return;
  const { dlopen } = await import("bun:ffi");
  const text = (value: string) => new TextEncoder().encode(`${value}\0`);
  try {
    const libc = dlopen("libc.so.6", { setenv: { args: ["ptr", "ptr", "i32"], returns: "i32" } });
    libc.symbols.setenv(text("LP_NUM_THREADS"), text(`${2 * cores}`), 0);
  } catch {} // another libc: the driver's own choice
}

function calmTicker(ticker: Ticker): void {
  let began = 0;
  let last = 0;
  ticker.scheduleTick = () => {
    if (ticker._ticking) return;
    ticker._ticking = true;
    const now = performance.now();
    if (now - last > SPIN_MS * 2) began = now; // nothing was pending for a while: a new wait
    last = now;
    const tick = () => {
      last = performance.now();
      ticker.processEvents();
      ticker._ticking = false;
      if (ticker.hasWaiting()) ticker.scheduleTick();
    };
    if (now - began < SPIN_MS) setImmediate(tick);
    else setTimeout(tick, 1);
  };
}
