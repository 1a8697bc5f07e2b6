/** How a kernel touches a binding. `write` never reads what was there, `update` does both. */
export type Access = "read" | "write" | "update";
export type Scalar = "f32" | "f16" | "i32" | "u32";
export type Tuning = Record<string, number>;
export type Shape = Record<string, number | string | boolean>;
export type Uniforms = Record<string, number>;
export type Workgroups = readonly [x: number, y?: number, z?: number];

/** What the default tuning is chosen by: CPU rasterizers, any GPU, GPUs with matrix units that WGSL can reach. */
export type AdapterClass = "software" | "portable" | "matrix";

/** What a kernel may ask of the adapter when it chooses its tuning. */
export interface Target {
  class: AdapterClass;
  subgroups: boolean;
  /** Lanes per subgroup where the adapter has just one size, otherwise 0. */
  subgroupSize: number;
  sharedBytes: number;
  f16: boolean;
}

/**
 * One WGSL kernel: what it binds, how it is launched, what may be tuned, its source. `Shape` is compiled in (a pipeline
 * per shape); what changes from launch to launch goes through `uniforms`, read in WGSL as `u.name`.
 */
export interface Kernel<S extends Shape = Shape, T extends Tuning = Tuning> {
  name: string;
  /** Storage buffers by WGSL name, in binding order; eight at most. */
  bindings: Record<string, Access> | ((shape: S) => Record<string, Access>);
  /** WGSL element type by binding; `f32` where silent. */
  types?: (shape: S, tuning: T) => Record<string, string>;
  uniforms?: Record<string, "f32" | "u32" | "i32">;
  /** Every value that each tuning parameter may take. */
  tuning?: { [K in keyof T]: readonly number[] };
  /** Which combinations make sense for the shape and the target (default: all). */
  valid?: (shape: S, tuning: T, target: Target) => boolean;
  /** The choice where no measurement is at hand (default: the first value of each). */
  pick?: (shape: S, target: Target) => T;
  workgroups: (shape: S, tuning: T, uniforms: Uniforms) => Workgroups;
  /** Work of one launch, for the roofline: floating-point operations and bytes that must move. */
  cost: (shape: S, uniforms: Uniforms) => { flops: number; bytes: number };
  /** WGSL without the binding declarations and `enable` lines, which are generated. Entry point `main`. */
  wgsl: (shape: S, tuning: T) => string;
}

/** Declares a kernel; the identity, for its types. */
export function kernel<S extends Shape, T extends Tuning = Record<never, number>>(spec: Kernel<S, T>): Kernel<S, T> {
  return spec;
}

/** Spreads `count` one-dimensional workgroups over x and y: each dimension takes 65,535 at most. See {@link linearIndex}. */
export function linearWorkgroups(count: number): Workgroups {
  if (count <= 65535) return [Math.max(count, 1)];
  const y = Math.ceil(count / 65535);
  return [Math.ceil(count / y), y];
}

/** WGSL parameters and the flat workgroup index that go with {@link linearWorkgroups}. */
export const linearIndex = {
  params:
    "@builtin(workgroup_id) wg: vec3u, @builtin(num_workgroups) wgs: vec3u, @builtin(local_invocation_index) lane: u32",
  group: "(wg.x + wg.y * wgs.x)",
};

export function bindingsOf<S extends Shape, T extends Tuning>(spec: Kernel<S, T>, shape: S): Record<string, Access> {
  return typeof spec.bindings === "function" ? spec.bindings(shape) : spec.bindings;
}

/** The first value of each tuning parameter, or what the kernel picks for this shape and target. */
export function defaultTuning<S extends Shape, T extends Tuning>(spec: Kernel<S, T>, shape: S, target: Target): T {
  if (spec.pick) return spec.pick(shape, target);
  return Object.fromEntries(Object.entries(spec.tuning ?? {}).map(([key, values]) => [key, values[0]])) as T;
}

/** All valid points of the tuning space. */
export function tuningSpace<S extends Shape, T extends Tuning>(spec: Kernel<S, T>, shape: S, target: Target): T[] {
  let points: Tuning[] = [{}];
  for (const [key, values] of Object.entries(spec.tuning ?? {})) {
    points = points.flatMap((point) => (values as readonly number[]).map((value) => ({ ...point, [key]: value })));
  }
  return (points as T[]).filter((point) => !spec.valid || spec.valid(shape, point, target));
}

/** The whole WGSL module of a kernel: enables, bindings, uniform block, source. */
export function moduleSource<S extends Shape, T extends Tuning>(spec: Kernel<S, T>, shape: S, tuning: T): string {
  const types = spec.types?.(shape, tuning) ?? {};
  const lines = Object.entries(bindingsOf(spec, shape)).map(([name, access], i) => {
    const mode = access === "read" ? "read" : "read_write";
    return `@group(0) @binding(${i}) var<storage, ${mode}> ${name}: array<${types[name] ?? "f32"}>;`;
  });
  if (spec.uniforms) {
    const fields = Object.entries(spec.uniforms).map(([name, type]) => `${name}: ${type}`);
    lines.push(`struct Uniforms { ${fields.join(", ")} }`);
    lines.push(`@group(0) @binding(${lines.length - 1}) var<uniform> u: Uniforms;`);
  }
  const body = `${lines.join("\n")}\n${spec.wgsl(shape, tuning)}`;
  const enables = [/\bf16\b/.test(body) ? "enable f16;" : "", /\bsubgroup/.test(body) ? "enable subgroups;" : ""];
  return `${enables.filter(Boolean).join("\n")}\n${body}\n`;
}
