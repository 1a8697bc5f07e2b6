import type { View } from "../../framework/device/bindings.ts";
import type { Gpu } from "../../framework/device/gpu.ts";
import type { Kernel, Shape, Tuning, Uniforms } from "../../framework/device/kernel.ts";
import { openGpu } from "../../framework/device/open.ts";

let opened: Promise<Gpu> | undefined;

/** One device for all kernel tests of a process. */
export function testGpu(): Promise<Gpu> {
  opened ??= openGpu();
  return opened;
}

/**
 * Launches a kernel on host arrays. Every array is uploaded; those named in `outputs` are read back.
 * A binding that the kernel writes is given by an array too: its content shows whether the kernel wrote past its part.
 */
export async function runKernel<S extends Shape, T extends Tuning, O extends string>(
  kernel: Kernel<S, T>,
  arrays: Record<string, Float32Array | Int32Array | Uint32Array | Uint16Array>,
  outputs: readonly O[],
  shape: S,
  uniforms: Uniforms = {},
  tuning?: T,
): Promise<Record<O, Float32Array>> {
  const gpu = await testGpu();
  const views: Record<string, View> = {};
  for (const [name, data] of Object.entries(arrays)) {
    const bytes = Math.max(data.byteLength, 4);
    const view = { block: gpu.alloc(bytes, { name, shape: [data.length], dtype: "test" }), offset: 0, bytes };
    views[name] = view;
    if (data.byteLength) gpu.write(view, data);
  }
  gpu.launch(kernel, views, shape, uniforms, tuning);
  const result = {} as Record<O, Float32Array>;
  for (const name of outputs) result[name] = new Float32Array(await gpu.read(views[name]));
  for (const view of Object.values(views)) gpu.release(view.block);
  return result;
}

/** Deterministic numbers in [-1, 1). */
export function noise(length: number, seed = 1): Float32Array {
  let state = seed * 2654435761;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** The largest |a - b| / (1 + |b|). */
export function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let max = 0;
  for (let i = 0; i < b.length; i++) {
    const error = Math.abs(a[i] - b[i]) / (1 + Math.abs(b[i]));
    if (!(error <= max)) max = Number.isNaN(error) ? Number.POSITIVE_INFINITY : error;
  }
  return max;
}
