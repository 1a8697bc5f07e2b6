import { DeviceError } from "./errors.ts";
import type { AdapterClass, Target } from "./kernel.ts";
import type { Provider } from "./provider.ts";

export const howToInstall =
  "Install a Vulkan driver (Linux: the GPU maker's, or Mesa 23.1 or newer for a software one; sh setup.sh does it on Debian and Ubuntu), or update the system's graphics driver (macOS, Windows)";

/** Without a usable driver Dawn hands out an adapter that computes nothing and answers at once. */
export function refuseNull(adapter: GPUAdapter, provider: Pick<Provider, "name">): void {
  const info = adapter.info as GPUAdapterInfo & { backendType?: number | string };
  const isNull = info?.device === "null-backend" || info?.backendType === 1 || info?.backendType === "null";
  if (isNull)
    throw new DeviceError(
      `${provider.name}: Dawn found no usable driver and offers its null adapter, which computes nothing. ${howToInstall}`,
    );
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

/** What measurements of an adapter hang on, as a line: its names, driver, backend, and who provides WebGPU. */
export function adapterIdentity(adapter: GPUAdapter, provider: Pick<Provider, "name">): string {
  const info = adapter.info as GPUAdapterInfo & { backendType?: number | string };
  return [info?.vendor, info?.architecture, info?.device, info?.description, info?.backendType, provider.name].join(
    "; ",
  );
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
