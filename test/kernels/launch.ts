import { expect } from "bun:test";
import type { View } from "../../framework/device/bindings.ts";
import type { Gpu } from "../../framework/device/gpu.ts";
import {
  type Kernel,
  type Scalar,
  type Shape,
  type Tuning,
  tuningSpace,
  type Uniforms,
} from "../../framework/device/kernel.ts";
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

/** What {@link runKernel} gives, by every point of the tuning space: all give the same bits. */
export async function runEveryPoint<S extends Shape, T extends Tuning, O extends string>(
  kernel: Kernel<S, T>,
  arrays: Parameters<typeof runKernel>[1],
  outputs: readonly O[],
  shape: S,
  uniforms: Uniforms = {},
): Promise<Record<O, Float32Array>> {
  const own = await runKernel(kernel, arrays, outputs, shape, uniforms);
  const points = tuningSpace(kernel, shape, (await testGpu()).target);
  expect(points.length).toBeGreaterThan(1);
  for (const tuning of points) {
    const out = await runKernel(kernel, arrays, outputs, shape, uniforms, tuning);
    const differs = outputs.filter((name) =>
      Buffer.compare(Buffer.from(out[name].buffer), Buffer.from(own[name].buffer)),
    );
    expect({ tuning, differs }).toEqual({ tuning, differs: [] });
  }
  return own;
}

/** Numbers as a buffer of the dtype holds them (of f16, an even count), and back. */
export const stored = (x: Float32Array, dtype: Scalar): Float32Array | Uint16Array =>
  dtype === "f16" ? new Uint16Array(Float16Array.from(x).buffer) : x;
export const loaded = (y: Float32Array, dtype: Scalar): Float32Array | Float16Array =>
  dtype === "f16" ? new Float16Array(y.buffer) : y;

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
