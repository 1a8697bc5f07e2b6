import {
  adapterIdentity,
  describeAdapter,
  howToInstall,
  matrixFeature,
  matrixOf,
  refuseNull,
  subgroupControlFeature,
} from "./adapter.ts";
import { DeviceError } from "./errors.ts";
import { Gpu } from "./gpu.ts";
import type { Target } from "./kernel.ts";
import { loadProvider, type Provider } from "./provider.ts";
import { halfTest, selfTest, unitTest, withoutUnits } from "./selfTest.ts";
import { Winners } from "./winners.ts";

export interface OpenOptions {
  /** `bun-webgpu`, `dawn` or `navigator`; the runtime's own choice where silent. */
  provider?: string;
  powerPreference?: GPUPowerPreference;
}

const wantedFeatures = ["shader-f16", "subgroups", "timestamp-query", subgroupControlFeature] as GPUFeatureName[];

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

/**
 * Opens the adapter and proves with one kernel that it computes.
 * @throws DeviceError where there is no adapter, only Dawn's null one, or one that computes wrongly, and where `MICROMIND_TUNE` is neither on nor off
 */
export async function openGpu(options: OpenOptions = {}): Promise<Gpu> {
  const winners = usesWinners();
  const gpu = await openUntried(options);
  const { adapter, provider } = gpu;
  await selfTest(gpu);
  if (gpu.target.f16 && describeAdapter(adapter).vendor === "nvidia") await halfTest(gpu);
  if (gpu.target.matrix) await unitTest(gpu);
  if (winners) gpu.winners = new Winners(adapterIdentity(adapter, provider)).load();
  return gpu;
}

/** Opens the adapter without the proof. Where the adapter that was preferred gives no device, the runtime's own does. */
export async function openUntried(options: OpenOptions): Promise<Gpu> {
  const { instead, ...chosen } = await choose(options);
  return instead ? openOn(chosen).catch(() => openOn(instead)) : openOn(chosen);
}

async function openOn({ provider, adapter }: Choice): Promise<Gpu> {
  const limits = adapter.limits as unknown as Record<string, number>;
  const device = await provider.requestDevice(adapter, {
    requiredFeatures: [
      ...wantedFeatures.filter((f) => adapter.features.has(f)),
      ...(matrixOf(adapter) ? [matrixFeature] : []),
    ],
    requiredLimits: Object.fromEntries(wantedLimits.map((name) => [name, limits[name]])),
  });
  const gpu = new Gpu(provider, adapter, device);
  if (gpu.target.subgroupControl) gpu.target = await trySubgroups(gpu);
  return gpu;
}

/** Which sizes of subgroups a module may ask for is told by no property, so it is asked. */
export async function trySubgroups({ device, target }: Pick<Gpu, "device" | "target">): Promise<Target> {
  const takes = async (size: number) => {
    for (const kind of ["validation", "internal"] as const) device.pushErrorScope(kind);
    const code = `enable subgroup_size_control; @compute @subgroup_size(${size}) @workgroup_size(64) fn main() {}`;
    const module = device.createShaderModule({ code });
    device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
    const errors = await Promise.all([device.popErrorScope(), device.popErrorScope()]);
    return errors.every((error) => error === null);
  };
  const { narrowSubgroup: least = 0, ...rest } = target;
  let narrow = least;
  while (narrow && !(await takes(narrow))) narrow = narrow < 32 ? 2 * narrow : 0;
  const found = narrow ? { ...rest, narrowSubgroup: narrow } : rest;
  if (await takes(target.subgroupSize)) return found;
  const { subgroupControl, ...without } = withoutUnits(found);
  return { ...without, subgroupSize: 0 };
}

function usesWinners(): boolean {
  const asked = process.env.MICROMIND_TUNE || "on";
  if (asked !== "on" && asked !== "off") throw new DeviceError(`MICROMIND_TUNE is ${asked}, expected on or off`);
  return asked === "on";
}

interface Choice {
  provider: Provider;
  adapter: GPUAdapter;
}

/**
 * The provider that was asked for, or the runtime's own. bun-webgpu neither names matrix units nor tells their sizes, and has no f16 on
 * NVIDIA's cards; so where it finds a real GPU, Dawn for N-API is asked too, and taken if its adapter is the same maker's and has what the
 * first one lacks; that one stands by (`instead`).
 */
export async function choose(options: OpenOptions, load = loadProvider): Promise<Choice & { instead?: Choice }> {
  const request = async (provider: Provider) => {
    const adapter = await provider.requestAdapter({ powerPreference: options.powerPreference ?? "high-performance" });
    if (!adapter) throw new DeviceError(`${provider.name}: no GPU adapter. ${howToInstall}`);
    refuseNull(adapter, provider);
    return { provider, adapter };
  };
  const first = await request(await load(options.provider));
  const asked = options.provider ?? process.env.MICROMIND_GPU;
  if (asked || first.provider.name !== "bun-webgpu" || describeAdapter(first.adapter).software) return first;
  const other = await load("dawn").then(request, () => undefined); // its package is optional
  if (!other) return first;
  const [own, others] = [first, other].map(({ adapter }) => describeAdapter(adapter));
  const half = ({ adapter }: Choice) => adapter.features.has("shader-f16");
  const more = matrixOf(other.adapter) !== undefined || (half(other) && !half(first));
  return more && !others.software && others.vendor === own.vendor ? { ...other, instead: first } : first;
}

const units = ({ matrix }: Target) => (matrix ? `matrix units ${matrix.m} × ${matrix.n} × ${matrix.k}, ` : "");

/** The line that a recipe prints at its start. */
export function summary(gpu: Gpu): string {
  const { name, backend } = describeAdapter(gpu.adapter);
  const { target } = gpu;
  const { maxBufferSize, maxStorageBufferBindingSize } = gpu.device.limits;
  const yes = (b: boolean) => (b ? "yes" : "no");
  const gb = (n: number) => (n >= 2 ** 30 ? `${(n / 2 ** 30).toFixed(0)} GB` : `${(n / 2 ** 20).toFixed(0)} MB`);
  return (
    `${name} (${backend}, ${gpu.provider.name}): f16 ${yes(target.f16)}, subgroups ${target.subgroups ? target.subgroupSize || "yes" : "no"}, ${units(target)}` +
    `buffers to ${gb(maxBufferSize)}, bindings to ${gb(maxStorageBufferBindingSize)}, shared memory ${target.sharedBytes / 1024} KB`
  );
}
