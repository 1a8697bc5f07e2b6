import { DeviceError } from "./errors.ts";
import type { AdapterClass, MatrixShape, Target } from "./kernel.ts";
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
  // Dawn takes all of vendor "mesa" for software, also the driver of Apple's GPUs for Linux.
  const kind = info?.vendor === "mesa" ? "" : info?.architecture;
  const all = `${info?.vendor} ${kind} ${info?.device} ${info?.description}`;
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

/** An adapter's combinations of fragments, as Dawn for N-API tells them; bun-webgpu tells none. */
interface MatrixConfig {
  componentType: string;
  resultComponentType: string;
  M: number;
  N: number;
  K: number;
}

/** The feature by which WGSL reaches matrix units. */
export const matrixFeature = "chromium-experimental-subgroup-matrix" as GPUFeatureName;

/** The largest f16 fragments that the adapter multiplies with sums in f32, or undefined. */
export function matrixOf(adapter: GPUAdapter): MatrixShape | undefined {
  const info = adapter.info as GPUAdapterInfo & { subgroupMatrixConfigs?: Iterable<MatrixConfig> };
  if (!adapter.features.has(matrixFeature) || !info?.subgroupMatrixConfigs) return undefined;
  return [...info.subgroupMatrixConfigs]
    .filter(({ componentType, resultComponentType }) => componentType === "f16" && resultComponentType === "f32")
    .map(({ M, N, K }) => ({ m: M, n: N, k: K }))
    .sort((a, b) => b.m * b.n * b.k - a.m * a.n * a.k)[0];
}

/** What measurements of an adapter hang on, as a line: its names, driver, backend, and who provides WebGPU. */
export function adapterIdentity(adapter: GPUAdapter, provider: Pick<Provider, "name">): string {
  const info = adapter.info as GPUAdapterInfo & { backendType?: number | string };
  return [info?.vendor, info?.architecture, info?.device, info?.description, info?.backendType, provider.name].join(
    "; ",
  );
}

/** By it a module chooses among the adapter's sizes of subgroups. */
export const subgroupControlFeature = "subgroup-size-control" as GPUFeatureName;

/** Of several sizes the one that is the hardware's own on AMD's cards from RDNA on, or what is nearest. */
const USUAL_SUBGROUP = 32;

export function targetOf(adapter: GPUAdapter, device: GPUDevice): Target {
  const info = adapter.info as GPUAdapterInfo & { subgroupMinSize?: number; subgroupMaxSize?: number };
  const has = (feature: string) => device.features.has(feature as GPUFeatureName);
  const { software, vendor } = describeAdapter(adapter);
  const { subgroupMinSize: least = 0, subgroupMaxSize: most = 0 } = info ?? {};
  const subgroupControl = least < most && has(subgroupControlFeature);
  const known = has("subgroups") && (least === most || subgroupControl);
  const size = known ? Math.min(most, Math.max(least, USUAL_SUBGROUP)) : 0;
  // Others' units want subgroups of one of their sizes, and nothing tells which.
  const unitsTakeIt = size > 0 && (!subgroupControl || vendor === "amd" || vendor === "nvidia");
  const matrix = unitsTakeIt && has("shader-f16") && has(matrixFeature) ? matrixOf(adapter) : undefined;
  const adapterClass: AdapterClass = software ? "software" : matrix ? "matrix" : "portable";
  return {
    class: adapterClass,
    subgroups: has("subgroups"),
    subgroupSize: size,
    ...(subgroupControl ? { subgroupControl } : {}),
    ...(subgroupControl && vendor === "intel" ? { narrowSubgroup: least } : {}),
    sharedBytes: device.limits.maxComputeWorkgroupStorageSize,
    f16: has("shader-f16"),
    ...(matrix ? { matrix } : {}),
  };
}
