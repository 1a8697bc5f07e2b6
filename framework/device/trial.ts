/** One launch on scratch buffers, under one tuning after another: is the answer the same, and how long does it take. */
import type { View } from "./bindings.ts";
import { elementType, type Launch } from "./collect.ts";
import { DeviceLostError } from "./errors.ts";
import type { Gpu } from "./gpu.ts";
import { type Access, kernel, type Tuning, viewsOf } from "./kernel.ts";

/** Of two results, against 0.01 + |value|: sums in another order, and rounding to f16. */
const TOLERANCE: Record<string, number> = { f32: 2e-3, f16: 2e-2, i32: 0, u32: 0 };
const LANES = 64;
const GROUPS = 64;
const MEASURE_MS = 2; // of launches in one measurement, so that short ones are timed more than once
const MOST_REPEATS = 16;

/** Each lane's largest difference between two buffers; a NaN on one side only counts as the largest of all. */
const difference = kernel({
  name: "difference",
  bindings: { a: "read", b: "read", worst: "write" },
  types: ({ type }: { type: string }) => ({ a: type, b: type }),
  uniforms: { n: "u32" },
  workgroups: () => [GROUPS],
  cost: (_, { n }) => ({ flops: n, bytes: 8 * n }),
  wgsl: () => /* wgsl */ `
    fn isNaN(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }

    @compute @workgroup_size(${LANES})
    fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
      let first = group.x * ${LANES}u + lane;
      var most = 0.0;
      for (var i = first; i < u.n; i += ${LANES * GROUPS}u) {
        if (a[i] == b[i]) { continue; }
        let x = f32(a[i]);
        let y = f32(b[i]);
        let far = abs(x - y) / (0.01 + abs(y));
        if (isNaN(x) && isNaN(y)) { continue; }
        most = max(most, select(far, 3e38, isNaN(far)));
      }
      worst[first] = most;
    }`,
});

export class Trial {
  private readonly views: Record<string, View> = {};
  private readonly own: View[] = [];
  private readonly outputs: { name: string; type: string; access: Access; expected: View }[] = [];
  private readonly worst: View;

  /** Fills the buffers and computes what the kernel's own choice of tuning gives. */
  constructor(
    private readonly gpu: Gpu,
    readonly launch: Launch,
    readonly standard: Tuning,
  ) {
    this.worst = this.alloc(4 * LANES * GROUPS);
    try {
      this.prepare();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  private prepare(): void {
    const { gpu, standard } = this;
    const { kernel, shape, buffers } = this.launch;
    const types = kernel.types?.(shape, standard) ?? {};
    for (const [name, access] of Object.entries(viewsOf(kernel, shape, standard))) {
      const content = buffers[name];
      const type = elementType(types[name]);
      const known = typeof content === "object" && "block" in content;
      this.views[name] = known ? content : this.alloc(typeof content === "number" ? content : content.byteLength);
      if (!known && access === "read") this.fill(this.views[name], type, content);
      if (access !== "read") this.outputs.push({ name, type, access, expected: this.alloc(this.views[name].bytes) });
    }
    this.run(standard);
    for (const { name, expected } of this.outputs) gpu.copy(this.views[name], expected);
  }

  /** @throws ShaderError where the kernel does not compile under this tuning; nothing has been launched then */
  async compile(tuning: Tuning): Promise<void> {
    const { kernel, shape, uniforms } = this.launch;
    this.gpu.prepare(kernel, shape, uniforms, tuning);
    await this.gpu.finish();
  }

  /** Whether this tuning gives the standard's result. */
  async agrees(tuning: Tuning): Promise<boolean> {
    this.run(tuning);
    for (const { name, type, expected } of this.outputs) {
      const n = Math.floor(expected.bytes / (type === "f16" ? 2 : 4));
      this.gpu.launch(difference, { a: this.views[name], b: expected, worst: this.worst }, { type }, { n });
      const differences = new Float32Array(await this.gpu.read(this.worst));
      if (!differences.every((d) => d <= TOLERANCE[type])) return false;
    }
    return true;
  }

  /** Milliseconds of one launch: the median of a few in a row, where the last measurement says that they are short. */
  async time(tuning: Tuning, expectedMs = MEASURE_MS): Promise<number> {
    const { gpu } = this;
    const { kernel, shape, uniforms } = this.launch;
    const repeats = Math.min(Math.max(Math.ceil(MEASURE_MS / expectedMs), 1), MOST_REPEATS);
    const timestamps = gpu.profiler.supported;
    const { active } = gpu.profiler;
    gpu.flush();
    await gpu.profiler.tally();
    const start = performance.now();
    gpu.profiler.active = timestamps;
    for (let i = 0; i < repeats; i++) gpu.launch(kernel, this.views, shape, uniforms, tuning);
    gpu.flush();
    gpu.profiler.active = active;
    if (!timestamps) await gpu.finish();
    if (!timestamps) return (performance.now() - start) / repeats;
    const times = (await gpu.profiler.take()).map(({ ms }) => ms);
    const parts = times.length / repeats; // dispatches of a launch
    const sums = Array.from({ length: repeats }, (_, i) =>
      times.slice(i * parts, (i + 1) * parts).reduce((sum, ms) => sum + ms, 0),
    );
    return median(sums);
  }

  close(): void {
    this.gpu.flush();
    for (const { block } of this.own) this.gpu.release(block);
  }

  /** One launch on outputs that hold something else before. */
  private run(tuning: Tuning): void {
    const { kernel, shape, uniforms } = this.launch;
    for (const { name, type } of this.outputs) this.fill(this.views[name], type, 0);
    this.gpu.launch(kernel, this.views, shape, uniforms, tuning);
  }

  private alloc(bytes: number): View {
    const view = { block: this.gpu.alloc(bytes), offset: 0, bytes };
    this.own.push(view);
    return view;
  }

  /** Content, random numbers in [0, 1) for floats, or zeros. */
  private fill(view: View, type: string, content: Launch["buffers"][string]): void {
    const source = ArrayBuffer.isView(content) ? bytesOf(content) : pattern(type);
    for (let at = 0; at < view.bytes; at += source.byteLength) {
      const bytes = Math.min(source.byteLength, view.bytes - at);
      this.gpu.write({ ...view, offset: view.offset + at, bytes }, source.subarray(0, bytes));
    }
  }
}

const median = (xs: readonly number[]): number => xs.toSorted((a, b) => a - b)[xs.length >> 1];

/** Whether nothing can be tried any more. */
export const isFatal = (error: unknown): boolean => error instanceof DeviceLostError;

const bytesOf = (data: ArrayBufferView) => new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);

const PERIOD = 4 * 65_521; // elements: four times a prime, so that rows of usual lengths differ
const patterns = new Map<string, Uint8Array>();

function pattern(type: string): Uint8Array {
  let known = patterns.get(type);
  if (known) return known;
  let state = 12345;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const floats = Float32Array.from({ length: PERIOD }, type === "f32" || type === "f16" ? next : () => 0);
  known = new Uint8Array(type === "f16" ? Float16Array.from(floats).buffer : floats.buffer);
  patterns.set(type, known);
  return known;
}
