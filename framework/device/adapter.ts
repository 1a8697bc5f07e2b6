import { DeviceError } from "./errors.ts";
import { Gpu } from "./gpu.ts";
import { type AdapterClass, kernel, type Target } from "./kernel.ts";
import { loadProvider, type Provider } from "./provider.ts";

export interface OpenOptions {
  /** `bun-webgpu`, `dawn` or `navigator`; the runtime's own choice where silent. */
  provider?: string;
  powerPreference?: GPUPowerPreference;
}

const wantedFeatures = ["shader-f16", "subgroups", "timestamp-query"] as GPUFeatureName[];

/** Limits raised to what the adapter has. */
const wantedLimits = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
  "maxComputeWorkgroupSizeZ",
  "maxComputeWorkgroupsPerDimension",
  "maxStorageBuffersPerShaderStage",
] as const;

const howToInstall =
  "Install a Vulkan driver (Linux: the GPU maker's, or Mesa 23.1 or newer for a software one; sh setup.sh does it on Debian and Ubuntu), or update the system's graphics driver (macOS, Windows)";

/**
 * Opens the adapter and proves with one kernel that it computes.
 * @throws DeviceError where there is no adapter, only Dawn's null one, or one that computes wrongly
 */
export async function openGpu(options: OpenOptions = {}): Promise<Gpu> {
  const provider = await loadProvider(options.provider);
  const adapter = await provider.requestAdapter({ powerPreference: options.powerPreference ?? "high-performance" });
  if (!adapter) throw new DeviceError(`${provider.name}: no GPU adapter. ${howToInstall}`);
  refuseNull(adapter, provider);
  const limits = adapter.limits as unknown as Record<string, number>;
  const device = await provider.requestDevice(adapter, {
    requiredFeatures: wantedFeatures.filter((f) => adapter.features.has(f)),
    requiredLimits: Object.fromEntries(wantedLimits.map((name) => [name, limits[name]])),
  });
  const gpu = new Gpu(provider, adapter, device);
  await selfTest(gpu);
  return gpu;
}

/** Without a usable driver Dawn hands out an adapter that computes nothing and answers at once. */
export function refuseNull(adapter: GPUAdapter, provider: Pick<Provider, "name">): void {
  const info = adapter.info as GPUAdapterInfo & { backendType?: number | string };
  const isNull = info?.device === "null-backend" || info?.backendType === 1 || info?.backendType === "null";
  if (isNull)
    throw new DeviceError(
      `${provider.name}: Dawn found no usable driver and offers its null adapter, which computes nothing. ${howToInstall}`,
    );
}

const probe = kernel({
  name: "selfTest",
  bindings: { x: "read", y: "write" },
  workgroups: () => [1],
  cost: () => ({ flops: 128, bytes: 512 }),
  wgsl: () => /* wgsl */ `
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) i: u32) { y[i] = x[i] * 3.0 + f32(i); }`,
});

/** @throws DeviceError where the adapter's answer is not the right one */
export async function selfTest(gpu: Gpu): Promise<void> {
  const x = gpu.alloc(256);
  const y = gpu.alloc(256);
  const input = Float32Array.from({ length: 64 }, (_, i) => i / 8 - 2);
  gpu.write({ block: x, offset: 0, bytes: 256 }, input);
  gpu.launch(probe, { x: { block: x, offset: 0, bytes: 256 }, y: { block: y, offset: 0, bytes: 256 } }, {});
  const output = new Float32Array(await gpu.read({ block: y, offset: 0, bytes: 256 }));
  gpu.release(x);
  gpu.release(y);
  const wrong = output.findIndex((value, i) => value !== input[i] * 3 + i);
  if (wrong < 0) return;
  const { name } = gpu;
  gpu.close();
  const detail = `element ${wrong} of the self-test is ${output[wrong]}, expected ${input[wrong] * 3 + wrong}`;
  throw new DeviceError(`${name}: the driver computes wrongly (${detail}). ${howToInstall}`);
}

export interface AdapterDescription {
  name: string;
  vendor: string;
  backend: string;
  software: boolean;
}

export function describeAdapter(adapter: GPUAdapter): AdapterDescription {
  const info = adapter.info as GPUAdapterInfo & { backendType?: number | string };
  const name =
    info?.description && !/^(Mesa|NVIDIA)? ?[\d.]/.test(info.description)
      ? info.description
      : info?.device || info?.architecture || "GPU";
  const all = `${info?.vendor} ${info?.architecture} ${info?.device} ${info?.description}`;
  const software = /llvmpipe|swiftshader|lavapipe|software|warp/i.test(all) || info?.isFallbackAdapter === true;
  const backends: Record<string, string> = {
    2: "WebGPU",
    3: "D3D11",
    4: "D3D12",
    5: "Metal",
    6: "Vulkan",
    7: "OpenGL",
    8: "OpenGL ES",
  };
  const backend = backends[String(info?.backendType)] ?? String(info?.backendType ?? "WebGPU");
  return { name, vendor: info?.vendor ?? "", backend, software };
}

export function targetOf(adapter: GPUAdapter, device: GPUDevice): Target {
  const info = adapter.info as GPUAdapterInfo & { subgroupMinSize?: number; subgroupMaxSize?: number };
  const has = (feature: string) => device.features.has(feature as GPUFeatureName);
  const { software } = describeAdapter(adapter);
  const fixed = has("subgroups") && info?.subgroupMinSize === info?.subgroupMaxSize ? (info?.subgroupMinSize ?? 0) : 0;
  const adapterClass: AdapterClass = software
    ? "software"
    : has("chromium-experimental-subgroup-matrix")
      ? "matrix"
      : "portable";
  return {
    class: adapterClass,
    subgroups: has("subgroups"),
    subgroupSize: fixed,
    sharedBytes: device.limits.maxComputeWorkgroupStorageSize,
    f16: has("shader-f16"),
  };
}

/** The line that a recipe prints at its start. */
export function summary(gpu: Gpu): string {
  const { name, backend } = describeAdapter(gpu.adapter);
  const { target } = gpu;
  const { maxBufferSize, maxStorageBufferBindingSize } = gpu.device.limits;
  const yes = (b: boolean) => (b ? "yes" : "no");
  const gb = (n: number) => (n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(0)} GB` : `${(n / 2 ** 20).toFixed(0)} MB`);
  return (
    `${name} (${backend}, ${gpu.provider.name}): f16 ${yes(target.f16)}, subgroups ${target.subgroups ? target.subgroupSize || "yes" : "no"}, ` +
    `buffers to ${gb(maxBufferSize)}, bindings to ${gb(maxStorageBufferBindingSize)}, shared memory ${target.sharedBytes / 1024} KB`
  );
}
