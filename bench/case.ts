import type { Kernel, Shape, Tuning, Uniforms } from "../framework/device/kernel.ts";

/** One launch to be timed: `bench/kernels/x.bench.ts` exports a list of them as its default. */
export interface KernelCase {
  /** What the table prints, such as `NN 512×512×512 f32`. */
  label: string;
  kernel: Kernel<Shape, Tuning>;
  shape: Shape;
  uniforms?: Uniforms;
  /** Bytes of each binding, filled with small random floats, or its content. */
  buffers: Record<string, number | ArrayBufferView>;
  /** Left out on software adapters, which would take minutes. */
  heavy?: boolean;
  /** Of a kernel for software adapters alone. */
  software?: boolean;
}

/** Erases a kernel's own shape type so that cases of many kernels fit one list. */
export function kernelCase<S extends Shape, T extends Tuning>(
  kernel: Kernel<S, T>,
  label: string,
  shape: S,
  buffers: KernelCase["buffers"],
  uniforms: Uniforms = {},
): KernelCase {
  return { label, kernel: kernel as unknown as Kernel<Shape, Tuning>, shape, uniforms, buffers };
}
