import { put } from "../../bench/peers/device.ts";
import { loadProvider } from "../../framework/device/provider.ts";
import { KINDS, LEFT_OUT, MODULES, TOLD_WORDS, VARIABLES, watched } from "./instrument.ts";

/** Two lanes that touched one element in no order. */
export interface Race {
  /** Kernel and shape. */
  kernel: string;
  kind: (typeof KINDS)[number];
  variable: string;
  /** One such element. */
  element: number;
}

const NOTES = 16 << 20; // bytes
const TOLD = 4 * TOLD_WORDS;

interface Module {
  label: string;
  variables: string[];
}

/** What could not be watched, with the reason. */
export const unwatched = new Set<string>();
const modules: Module[] = [];
const watchers: { device: GPUDevice; notes: GPUBuffer }[] = [];

/** Devices that are opened from here on watch their kernels. Each launch then has a pass of its own, and takes some ten times as long. */
export async function watchRaces(): Promise<void> {
  const provider = await loadProvider();
  const adapter = await provider.requestAdapter({});
  if (!adapter) throw new Error("no adapter");
  const prototype: GPUAdapter = Object.getPrototypeOf(adapter);
  const { requestDevice } = prototype;
  put(prototype, "requestDevice", async function (this: GPUAdapter, descriptor: GPUDeviceDescriptor) {
    const device = await requestDevice.call(this, descriptor);
    watch(device);
    return device;
  });
}

/** The races since the last call, each place once. */
export async function races(): Promise<Race[]> {
  const found: Race[] = [];
  for (const { device, notes } of watchers) {
    const copy = device.createBuffer({ size: TOLD, usage: 0x1 | 0x8 }); // MAP_READ, COPY_DST
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(notes, 0, copy, 0, TOLD);
    encoder.clearBuffer(notes, 0, TOLD);
    device.queue.submit([encoder.finish()]);
    await copy.mapAsync(1);
    const told = new Uint32Array(copy.getMappedRange().slice(0));
    copy.destroy();
    if (told[LEFT_OUT] > 0) unwatched.add("some accesses: buffers are too large, or barriers too many");
    for (const [number, { label, variables }] of modules.entries())
      for (const [v, variable] of variables.entries())
        for (const [k, kind] of KINDS.entries()) {
          const element = told[(number * VARIABLES + v) * KINDS.length + k];
          if (element > 0) found.push({ kernel: label, kind, variable, element: element - 1 });
        }
  }
  return found;
}

function watch(device: GPUDevice): void {
  const notes = device.createBuffer({ size: TOLD + NOTES, usage: 0x80 | 0x4 | 0x8 }); // STORAGE, COPY_SRC, COPY_DST
  const watcher = { device, notes };
  watchers.push(watcher);
  const destroy = device.destroy.bind(device);
  put(device, "destroy", () => {
    watchers.splice(watchers.indexOf(watcher), 1);
    destroy();
  });
  const layout = device.createBindGroupLayout({
    entries: [{ binding: 0, visibility: 4, buffer: { type: "storage" } }],
  });
  const entries = [{ binding: 0, resource: { buffer: notes, offset: 0, size: TOLD + NOTES } }];
  const group = device.createBindGroup({ layout, entries });
  const numbers = new WeakMap<GPUShaderModule, number>();

  const most = device.limits.maxStorageBuffersPerShaderStage;
  const full = new WeakSet<GPUBindGroupLayout>(); // those that leave no place for the notes
  const createBindGroupLayout = device.createBindGroupLayout.bind(device);
  put(device, "createBindGroupLayout", (descriptor: GPUBindGroupLayoutDescriptor) => {
    const made = createBindGroupLayout(descriptor);
    const storage = [...descriptor.entries].filter(({ buffer }) => buffer?.type?.endsWith("storage"));
    if (storage.length >= most) full.add(made);
    return made;
  });
  const createPipelineLayout = device.createPipelineLayout.bind(device);
  put(device, "createPipelineLayout", ({ bindGroupLayouts: [own] }: { bindGroupLayouts: GPUBindGroupLayout[] }) =>
    createPipelineLayout({ bindGroupLayouts: full.has(own) ? [own] : [own, layout] }),
  );
  const createShaderModule = device.createShaderModule.bind(device);
  put(device, "createShaderModule", (descriptor: GPUShaderModuleDescriptor) => {
    const own = descriptor.label ? watchable(descriptor.label, descriptor.code, most) : undefined; // those without are not a kernel's
    const module = createShaderModule(own ? { ...descriptor, code: own.code } : descriptor);
    if (own) numbers.set(module, own.number);
    return module;
  });
  const createComputePipeline = device.createComputePipeline.bind(device);
  put(device, "createComputePipeline", (descriptor: GPUComputePipelineDescriptor) => {
    const number = numbers.get(descriptor.compute.module);
    if (number !== undefined) modules[number].label = `${descriptor.label}`;
    return createComputePipeline(descriptor);
  });
  const createCommandEncoder = device.createCommandEncoder.bind(device);
  put(device, "createCommandEncoder", (descriptor?: GPUCommandEncoderDescriptor) => {
    const encoder = createCommandEncoder(descriptor);
    const begin = encoder.beginComputePass.bind(encoder);
    put(encoder, "beginComputePass", (options?: GPUComputePassDescriptor) => {
      const clear = () => encoder.clearBuffer(notes, TOLD, NOTES);
      return apart(() => begin(options), clear, group);
    });
    return encoder;
  });
}

function watchable(label: string, source: string, most: number): { code: string; number: number } | undefined {
  try {
    if (source.split("var<storage").length > most) throw new Error("it binds all buffers that the adapter allows");
    if (modules.length === MODULES) throw new Error(`more than ${MODULES} kernels in a process`);
    const { code, variables } = watched(source, modules.length);
    return { code, number: modules.push({ label, variables }) - 1 };
  } catch (error) {
    unwatched.add(`${label}: ${(error as Error).message}`);
    return undefined;
  }
}

/** A pass that makes one of its own for each launch, before which the notes are cleared. They are freed with the process. */
function apart(begin: () => GPUComputePassEncoder, clear: () => void, group: GPUBindGroup): GPUComputePassEncoder {
  let pipeline: GPUComputePipeline;
  let bind = (_: GPUComputePassEncoder) => {};
  const pass = {
    ptr: null,
    setPipeline: (given: GPUComputePipeline) => {
      pipeline = given;
    },
    setBindGroup: (index: number, own: GPUBindGroup, offsets?: Uint32Array, ...rest: number[]) => {
      const kept = offsets?.slice();
      bind = (real) =>
        kept
          ? real.setBindGroup(index, own, kept, rest[0] ?? 0, rest[1] ?? kept.length)
          : real.setBindGroup(index, own);
    },
    dispatchWorkgroups: (x: number, y?: number, z?: number) => {
      clear();
      const real = begin();
      real.setPipeline(pipeline);
      bind(real);
      real.setBindGroup(1, group);
      real.dispatchWorkgroups(x, y, z);
      real.end();
    },
    end: () => {},
  };
  return pass as unknown as GPUComputePassEncoder;
}
