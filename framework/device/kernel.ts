/** How a kernel touches a binding. `write` never reads what was there, `update` does both. */
export type Access = "read" | "write" | "update";
export type Scalar = "f32" | "f16" | "i32" | "u32";
export type Tuning = Record<string, number>;
export type Shape = Record<string, number | string | boolean>;
export type Uniforms = Record<string, number>;
export type Workgroups = readonly [x: number, y?: number, z?: number];

/** What the default tuning is chosen by: CPU rasterizers, any GPU, GPUs with matrix units that WGSL can reach. */
export type AdapterClass = "software" | "portable" | "matrix";

/** Fragments that a subgroup multiplies on matrix units: m × k times k × n. */
export interface MatrixShape {
  m: number;
  n: number;
  k: number;
}

/** What a kernel may ask of the adapter when it chooses its tuning. */
export interface Target {
  class: AdapterClass;
  subgroups: boolean;
  /** Lanes per subgroup that kernels may count on, or 0 where these vary. */
  subgroupSize: number;
  /** The adapter has subgroups of other sizes too, so that a module that uses them asks for `subgroupSize`. */
  subgroupControl?: boolean;
  /** Where lanes of a subgroup share out a file of registers (Intel): the smallest size that a module may ask for. */
  narrowSubgroup?: number;
  sharedBytes: number;
  f16: boolean;
  /** Where WGSL reaches matrix units that multiply f16 and add in f32, and the size of subgroups is known. */
  matrix?: MatrixShape;
}

/** Every value that each tuning parameter may take. */
export type TuningValues<T> = { readonly [K in keyof T]?: readonly number[] };

/** The second launch of a kernel whose tuning leaves partial results: they lie in a scratch buffer, `parts` to both. */
export interface Join {
  kernel: Kernel<Shape, Tuning>;
  shape: Shape;
  /** Of the scratch buffer. */
  bytes: (uniforms: Uniforms) => number;
}

/**
 * One WGSL kernel: what it binds, how it is launched, what may be tuned, its source. `Shape` is compiled in (a pipeline
 * per shape); what changes from launch to launch goes through `uniforms`, read in WGSL as `u.name`.
 */
export interface Kernel<S extends Shape = Shape, T extends Tuning = Tuning> {
  name: string;
  /** Storage buffers by WGSL name, in binding order; eight at most. */
  bindings: Record<string, Access> | ((shape: S, tuning: T) => Record<string, Access>);
  /** WGSL element type by binding; `f32` where silent. */
  types?: (shape: S, tuning: T) => Record<string, string>;
  uniforms?: Record<string, "f32" | "u32" | "i32">;
  /** Lanes keep so much in registers that small subgroups serve, where a lane has more of them there. */
  manyRegisters?: boolean;
  /** The uniforms that speed hangs on. Launches that agree in them, rounded to powers of two, share a tuning. */
  sizes?: readonly string[];
  /** The tuning space: all combinations of the values; a list has one product for each family of points. */
  tuning?: TuningValues<T> | readonly TuningValues<T>[];
  /** Which combinations make sense for the shape and the target (default: all). */
  valid?: (shape: S, tuning: T, target: Target) => boolean;
  /** The choice where no measurement is at hand (default: the first value of each). `rounded` holds `sizes` as powers of two. */
  pick?: (shape: S, target: Target, rounded?: Uniforms) => T;
  workgroups: (shape: S, tuning: T, uniforms: Uniforms) => Workgroups;
  /** Work of one launch, for the roofline: floating-point operations and bytes that must move. */
  cost: (shape: S, uniforms: Uniforms) => { flops: number; bytes: number };
  /** Where a tuning leaves partial results: what joins them. It takes the same views and uniforms. */
  join?: (shape: S, tuning: T) => Join | undefined;
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

export function bindingsOf<S extends Shape, T extends Tuning>(
  spec: Kernel<S, T>,
  shape: S,
  tuning = {} as T,
): Record<string, Access> {
  return typeof spec.bindings === "function" ? spec.bindings(shape, tuning) : spec.bindings;
}

/** What a launch takes, by binding: the kernel's own and those of what joins its parts, which are the launcher's own affair. */
export function viewsOf<S extends Shape, T extends Tuning>(
  spec: Kernel<S, T>,
  shape: S,
  tuning: T,
): Record<string, Access> {
  const own = bindingsOf(spec, shape, tuning);
  const join = spec.join?.(shape, tuning);
  if (!join) return own;
  const { parts, ...all } = { ...own, ...bindingsOf(join.kernel, join.shape) };
  return all;
}

/** A size to the nearest power of two, as its exponent; -1 for 0. */
const exponentOf = (size: number): number => (size >= 2 ** 31 ? 31 : 31 - Math.clz32(size + (size >>> 1)));

/** The class of a launch's sizes: exponents of `kernel.sizes`, in their order. */
export function sizeClasses({ sizes = [] }: Pick<Kernel, "sizes">, uniforms: Uniforms): number[] {
  return sizes.map((name) => exponentOf(uniforms[name]));
}

/** The same as one number, for launches: no list is made. */
export function sizeKey(sizes: readonly string[], uniforms: Uniforms): number {
  let key = 0;
  for (let i = 0; i < sizes.length; i++) key = key * 64 + exponentOf(uniforms[sizes[i]]) + 1;
  return key;
}

/** The sizes that stand for a class: what `pick` sees. */
export function roundedSizes({ sizes = [] }: Pick<Kernel, "sizes">, uniforms: Uniforms): Uniforms {
  return Object.fromEntries(sizes.map((name) => [name, uniforms[name] === 0 ? 0 : 2 ** exponentOf(uniforms[name])]));
}

/** A compiled shape as a word. */
export const shapeKey = (shape: Shape): string => Object.values(shape).join(",");

/** The first value of each tuning parameter, or what the kernel picks for this shape, target and (rounded) sizes. */
export function defaultTuning<S extends Shape, T extends Tuning>(
  spec: Kernel<S, T>,
  shape: S,
  target: Target,
  rounded?: Uniforms,
): T {
  if (spec.pick) return spec.pick(shape, target, rounded);
  return Object.fromEntries(Object.entries(families(spec)[0]).map(([key, values]) => [key, values[0]])) as T;
}

/** All valid points of the tuning space. */
export function tuningSpace<S extends Shape, T extends Tuning>(spec: Kernel<S, T>, shape: S, target: Target): T[] {
  const points = families(spec).flatMap((values) => {
    let product: Tuning[] = [{}];
    for (const [key, list] of Object.entries(values))
      product = product.flatMap((point) => list.map((value) => ({ ...point, [key]: value })));
    return product as T[];
  });
  return points.filter((point) => !spec.valid || spec.valid(shape, point, target));
}

const families = <S extends Shape, T extends Tuning>({
  tuning = {},
}: Kernel<S, T>): Record<string, readonly number[]>[] => [tuning].flat() as Record<string, readonly number[]>[];

/** The whole WGSL module of a kernel: enables, bindings, uniform block, source. */
export function moduleSource<S extends Shape, T extends Tuning>(
  spec: Kernel<S, T>,
  shape: S,
  tuning: T,
  target?: Target,
): string {
  const types = spec.types?.(shape, tuning) ?? {};
  const lines = Object.entries(bindingsOf(spec, shape, tuning)).map(([name, access], i) => {
    const mode = access === "read" ? "read" : "read_write";
    return `@group(0) @binding(${i}) var<storage, ${mode}> ${name}: array<${types[name] ?? "f32"}>;`;
  });
  if (spec.uniforms) {
    const fields = Object.entries(spec.uniforms).map(([name, type]) => `${name}: ${type}`);
    lines.push(`struct Uniforms { ${fields.join(", ")} }`);
    lines.push(`@group(0) @binding(${lines.length - 1}) var<uniform> u: Uniforms;`);
  }
  let body = `${lines.join("\n")}\n${spec.wgsl(shape, tuning)}`;
  const size = target && askedSubgroup(spec, body, target);
  if (size) body = body.replace("@compute", `@compute @subgroup_size(${size})`);
  return `${directives
    .filter(([sign]) => sign.test(body))
    .map(([, directive]) => directive)
    .join("\n")}\n${body}\n`;
}

/** The size of subgroups that a module asks for, if any. Only whole subgroups are allowed then. */
function askedSubgroup(
  { manyRegisters }: { manyRegisters?: boolean },
  body: string,
  { subgroupControl, subgroupSize, narrowSubgroup = 0 }: Target,
): number {
  if (/\bsubgroup(_|[A-Z])/.test(body)) return subgroupControl ? subgroupSize : 0;
  const lanes = Number(/@workgroup_size\((\d+)/.exec(body)?.[1]);
  return manyRegisters && lanes % narrowSubgroup === 0 ? narrowSubgroup : 0;
}

/**
 * What a module must say before it uses something. That a subgroup's number is the same for all of its lanes is beyond Tint, as
 * long as it is computed from the lane's; see `kernels/shared/matrixUnits.ts` for why it is. `halves4` and `halves8` are so many f16, two to
 * a word: half the loads on a CPU, where every element loaded counts; and the name tells whoever makes up a binding's content that it is f16.
 */
const directives: [sign: RegExp, directive: string][] = [
  [/\bf16\b/, "enable f16;"],
  [/\bsubgroup(_inv|_size\b(?!\()|[A-Z](?!atrix))/, "enable subgroups;"],
  [/@subgroup_size\b/, "enable subgroup_size_control;"],
  [/\bsubgroup_matrix_/, "enable chromium_experimental_subgroup_matrix;"],
  [/\bsubgroup_matrix_/, "diagnostic(off, chromium.subgroup_matrix_uniformity);"],
  [/\bhalves4\b/, "alias halves4 = vec2u;"],
  [/\bhalves8\b/, "alias halves8 = vec4u;"],
];
