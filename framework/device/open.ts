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
import { type Kernel, kernel, type Target } from "./kernel.ts";
import { loadProvider, type Provider } from "./provider.ts";
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

function withoutUnits({ matrix, ...target }: Target): Target {
  return { ...target, class: target.class === "matrix" ? "portable" : target.class };
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

const probe = kernel({
  name: "selfTest",
  bindings: { x: "read", y: "write" },
  workgroups: () => [1],
  cost: () => ({ flops: 128, bytes: 512 }),
  wgsl: () => /* wgsl */ `
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) i: u32) { y[i] = x[i] * 3.0 + f32(i); }`,
});

/** What a kernel makes of `x`, in a `y` as large that holds `blank` before: the pool may hand out memory that holds the right answer of an earlier test. */
async function answer(gpu: Gpu, spec: Kernel, x: ArrayBufferView, blank: ArrayBufferView): Promise<ArrayBuffer> {
  const bytes = x.byteLength;
  const views = { x: { block: gpu.alloc(bytes), offset: 0, bytes }, y: { block: gpu.alloc(bytes), offset: 0, bytes } };
  gpu.write(views.x, x);
  gpu.write(views.y, blank);
  gpu.launch(spec, views, {});
  return gpu.read(views.y).finally(() => {
    for (const { block } of Object.values(views)) gpu.release(block);
  });
}

/** @throws DeviceError where the adapter's answer is not the right one */
export async function selfTest(gpu: Gpu): Promise<void> {
  const input = Float32Array.from({ length: 64 }, (_, i) => i / 8 - 2);
  const output = new Float32Array(await answer(gpu, probe, input, new Float32Array(64).fill(-1)));
  const wrong = output.findIndex((value, i) => value !== input[i] * 3 + i);
  if (wrong < 0) return;
  const { name } = gpu;
  gpu.close();
  const detail = `element ${wrong} of the self-test is ${output[wrong]}, expected ${input[wrong] * 3 + wrong}`;
  throw new DeviceError(`${name}: the driver computes wrongly (${detail}). ${howToInstall}`);
}

const halfProbe = kernel({
  name: "halfTest",
  bindings: { x: "read", y: "write" },
  types: () => ({ x: "vec4<f16>", y: "vec4<f16>" }),
  workgroups: () => [1],
  cost: () => ({ flops: 512, bytes: 1024 }),
  wgsl: () => /* wgsl */ `
    var<workgroup> turned: array<vec4<f16>, 64>;
    @compute @workgroup_size(64)
    fn main(@builtin(local_invocation_index) i: u32) {
      turned[i] = x[i] * 3.0h + vec4<f16>(vec4f(f32(i)));
      workgroupBarrier();
      let v = turned[63u - i];
      y[i] = vec4<f16>(v.wz, f16(f32(v.x)), max(v.y, 0.5h));
    }`,
});

/** Half precision is left out, with a line that says so, where it does not compute what it should. */
export async function halfTest(gpu: Gpu, say: (line: string) => void = console.error): Promise<void> {
  const input = Float16Array.from({ length: 256 }, (_, i) => i / 8 - 16);
  const expected = Float16Array.from({ length: 256 }, (_, i) => {
    const source = 4 * (63 - (i >> 2)) + [3, 2, 0, 1][i & 3];
    const value = input[source] * 3 + (source >> 2);
    return (i & 3) === 3 ? Math.max(value, 0.5) : value;
  });
  const blank = new Uint16Array(256).fill(0xffff);
  const trouble = await answer(gpu, halfProbe, new Uint16Array(input.buffer), blank).then((bytes) => {
    const output = new Float16Array(bytes);
    const wrong = output.findIndex((value, i) => value !== expected[i]);
    return wrong < 0 ? "" : `element ${wrong} of the test is ${output[wrong]}, expected ${expected[wrong]}`;
  }, String); // a compiler's refusal arrives here
  if (!trouble) return;
  gpu.target = { ...withoutUnits(gpu.target), f16: false };
  say(
    `${gpu.name}: the driver computes wrongly in half precision (${trouble}); it is left out. A newer driver may do better`,
  );
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
