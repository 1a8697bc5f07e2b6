import type { View } from "./bindings.ts";
import type { Gpu } from "./gpu.ts";
import {
  defaultTuning,
  type Kernel,
  type Shape,
  shapeKey,
  sizeKey,
  type Tuning,
  tuningSpace,
  type Uniforms,
  viewsOf,
} from "./kernel.ts";

/** A launch to be tuned. */
export interface Launch {
  kernel: Kernel<Shape, Tuning>;
  shape: Shape;
  uniforms: Uniforms;
  /** By binding: bytes that are filled with random numbers, content, or a view that holds it. Integers without content are zeros. */
  buffers: Record<string, number | ArrayBufferView | View>;
  /** How often a program makes it. */
  count: number;
}

/**
 * Runs `fn` without its work: launches that have something to tune are noted, each kind once, and nothing is recorded,
 * so no tensor changes. Only kernels that write nothing but integers run, since other launches' work hangs on what they
 * write; the integers that a noted launch reads are copied for it. Free them with {@link releaseLaunches}.
 */
export async function collect(gpu: Gpu, fn: () => unknown): Promise<Launch[]> {
  const found = new Map<string, Launch>();
  const observer: Gpu["observer"] = (kernel, views, shape, uniforms) => {
    const tuning = defaultTuning(kernel, shape, gpu.target);
    const bindings = Object.entries(viewsOf(kernel, shape, tuning));
    const types = kernel.types?.(shape, tuning) ?? {};
    const isInteger = (name: string) => ["i32", "u32"].includes(elementType(types[name]));
    if (bindings.every(([name, access]) => access === "read" || isInteger(name))) return false;
    const key = `${kernel.name};${shapeKey(shape)};${sizeKey(kernel.sizes ?? [], uniforms)}`;
    const known = found.get(key);
    if (known) known.count++;
    else if (tuningSpace(kernel, shape, gpu.target).length > 1) {
      const entries = bindings.map(([name, access]) => {
        const { bytes } = views[name];
        return [name, access === "read" && isInteger(name) ? duplicate(gpu, views[name]) : bytes] as const;
      });
      found.set(key, { kernel, shape, uniforms: { ...uniforms }, buffers: Object.fromEntries(entries), count: 1 });
    }
    return true;
  };
  gpu.observer = observer;
  try {
    await fn();
  } finally {
    gpu.observer = undefined;
  }
  return [...found.values()];
}

/** Frees what collected launches hold. */
export function releaseLaunches(gpu: Gpu, launches: readonly Launch[]): void {
  for (const { buffers } of launches)
    for (const content of Object.values(buffers))
      if (typeof content === "object" && "block" in content) gpu.release(content.block);
}

/** `vec4<f16>` and `halves4` are made of f16, `vec2u` of u32. */
export function elementType(type = "f32"): string {
  if (type.startsWith("halves")) return "f16";
  const short: Record<string, string> = { f: "f32", h: "f16", i: "i32", u: "u32" };
  return /(f32|f16|i32|u32)/.exec(type)?.[1] ?? short[/^vec\d([fhiu])$/.exec(type)?.[1] ?? ""] ?? type;
}

function duplicate(gpu: Gpu, view: View): View {
  const { observer } = gpu;
  const copy = { block: gpu.alloc(view.bytes), offset: 0, bytes: view.bytes };
  gpu.observer = undefined;
  gpu.copy(view, copy);
  gpu.observer = observer;
  return copy;
}
