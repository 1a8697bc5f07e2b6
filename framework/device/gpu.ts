import { adapterIdentity, describeAdapter, targetOf } from "./adapter.ts";
import { BindingCache, type View } from "./bindings.ts";
import { DeviceError, DeviceLostError, ShaderError } from "./errors.ts";
import type { Kernel, Shape, Target, Tuning, Uniforms } from "./kernel.ts";
import { describeShape, type Plan, PlanCache } from "./plans.ts";
import { type Block, BufferPool, type Owner } from "./pool.ts";
import { Profiler } from "./profile.ts";
import type { Program, ProgramLaunch } from "./program.ts";
import type { Provider } from "./provider.ts";
import { Staging } from "./staging.ts";
import { UniformArena } from "./uniforms.ts";
import type { Tunings, Winners } from "./winners.ts";

/** Sees each launch before it is recorded; one that it takes (true) is not recorded. */
export type Observer = (
  kernel: Kernel<Shape, Tuning>,
  views: Record<string, View>,
  shape: Shape,
  uniforms: Uniforms,
) => boolean;

export interface GpuStats {
  dispatches: number;
  submits: number;
  pipelines: number;
  bindGroups: number;
  bindGroupsCreated: number;
}

const MAX_RECORDED = 1000; // dispatches per submit: long enough to cost nothing, short enough to keep the adapter busy
const READ_CHUNK = 16 << 20; // copying out of a larger mapping is slow under bun-webgpu
const WRITE_CHUNK = 64 << 20;

/**
 * One device with its caches. Launches are recorded into one compute pass; they run at a `flush`, a `read`, or when the
 * recording is long. `read` is the only asynchronous operation, and where errors of all work before it surface.
 */
export class Gpu {
  /** What kernels choose by; tests put another adapter's in its place before the first launch. */
  target: Target;
  readonly pool: BufferPool;
  readonly profiler: Profiler;

  /** Tunings that were measured on this adapter; without them kernels pick. */
  winners: Winners | undefined;
  /** Whoever collects launches; while it stands, copies are left out too. */
  observer: Observer | undefined;

  private encoder: GPUCommandEncoder | undefined;
  private pass: GPUComputePassEncoder | undefined;
  private recorded = 0;
  private capturing: ProgramLaunch[] | undefined;
  private readonly dynamicOffset = new Uint32Array(1);
  private dispatches = 0;
  private submits = 0;
  private readonly uniforms: UniformArena;
  private readonly bindings: BindingCache;
  private readonly plans: PlanCache;
  private readonly staging: Staging;
  private failures: Promise<Error | null>[] = [];
  private failure: Error | undefined;
  private closed = false;

  constructor(
    readonly provider: Provider,
    readonly adapter: GPUAdapter,
    readonly device: GPUDevice,
  ) {
    this.target = targetOf(adapter, device);
    const maxBytes = device.limits.maxBufferSize;
    this.pool = new BufferPool(device, maxBytes, provider.releaseBuffer, (f) => this.failures.push(f));
    this.profiler = new Profiler(device, provider);
    this.profiler.watch();
    this.uniforms = new UniformArena(device, provider);
    this.bindings = new BindingCache(device, provider, this.uniforms.buffer, () => this.flush());
    this.plans = new PlanCache(this, this.bindings, (f) => this.failures.push(f), this.profiler.debug);
    this.staging = new Staging(device, provider, (from, at, to, bytes) => this.copyOut(from, at, to, bytes));
    device.onuncapturederror = (event) => {
      this.failure ??= new ShaderError(`${this.name}: ${event.error.message}`); // fires twice under bun-webgpu; never throws
    };
    device.lost.then((info) => {
      if (!this.closed) this.failure = new DeviceLostError(`${this.name}: the device was lost (${info.message})`);
    });
  }

  /** The adapter's name, for errors and reports. */
  get name(): string {
    return describeAdapter(this.adapter).name;
  }

  /** Counts since the start; live bind groups and pipelines. */
  get stats(): GpuStats {
    const { dispatches, submits, plans, bindings } = this;
    return {
      dispatches,
      submits,
      pipelines: plans.size,
      bindGroups: bindings.live,
      bindGroupsCreated: bindings.created,
    };
  }

  alloc(bytes: number, owner?: Owner): Block {
    return this.pool.alloc(bytes, owner);
  }

  release(block: Block): void {
    if (!this.closed) this.pool.release(block);
  }

  /**
   * Records one launch. `views` names a view for each of the kernel's bindings.
   * @throws ShaderError where a binding is missing, too large, or bound both to read and to write
   */
  launch<S extends Shape, T extends Tuning>(
    kernel: Kernel<S, T>,
    views: Record<string, View>,
    shape: S,
    uniforms: Uniforms = {},
    tuning?: T,
  ): void {
    const spec = kernel as unknown as Kernel<Shape, Tuning>;
    if (this.observer?.(spec, views, shape, uniforms)) return;
    const plan = this.plans.get(spec, shape, uniforms, tuning);
    if (plan.join) this.dispatchInParts(plan, plan.join, views, uniforms);
    else this.dispatch(plan, views, uniforms);
  }

  /** Partial results to a scratch buffer, then what joins them. */
  private dispatchInParts(
    plan: Plan,
    join: NonNullable<Plan["join"]>,
    views: Record<string, View>,
    uniforms: Uniforms,
  ) {
    const bytes = join.bytes(uniforms);
    if (bytes === 0) return;
    const block = this.pool.alloc(bytes, { name: `${plan.kernel.name}.parts`, shape: [bytes / 4], dtype: "f32" });
    const withParts = { ...views, parts: { block, offset: 0, bytes } };
    this.dispatch(plan, withParts, uniforms);
    this.dispatch(join.plan, withParts, uniforms);
    this.pool.release(block);
  }

  private dispatch(plan: Plan, views: Record<string, View>, uniforms: Uniforms): void {
    const { kernel, shape } = plan;
    const [x, y = 1, z = 1] = kernel.workgroups(shape, plan.tuning, uniforms);
    if (x === 0 || y === 0 || z === 0) return;
    if (Math.max(x, y, z) > this.device.limits.maxComputeWorkgroupsPerDimension) {
      throw new ShaderError(
        `${kernel.name}: ${x} × ${y} × ${z} workgroups are more than ${this.name} takes (${describeShape(shape)})`,
      );
    }
    const group = this.bindings.group(kernel.name, plan.layout, views); // may submit, which takes the uniforms along
    if (this.uniforms.full) this.flush();
    const offset = plan.uniforms.length ? this.uniforms.add(kernel.name, plan.uniforms, uniforms) : 0;
    const grid = [x, y, z] as const;
    this.capturing?.push({ plan, views, uniforms, grid, group, offset, recording: this.submits });
    this.record(plan, group, offset, grid, uniforms);
  }

  private record(
    plan: Plan,
    group: GPUBindGroup,
    offset: number,
    [x, y, z]: ProgramLaunch["grid"],
    uniforms: Uniforms,
  ): void {
    const pass = this.begin(plan, uniforms);
    pass.setPipeline(plan.pipeline);
    if (plan.uniforms.length) {
      this.dynamicOffset[0] = offset;
      pass.setBindGroup(0, group, this.dynamicOffset, 0, 1);
    } else pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y, z);
    this.dispatches++;
    if (this.profiler.active) this.endPass();
    if (++this.recorded >= (this.profiler.active ? this.profiler.capacity : MAX_RECORDED)) this.flush();
  }

  /**
   * Runs `work` and keeps its launches, for {@link replay}. Buffers that it allocates must be freed by its end.
   * @throws DeviceError where it uploads, copies, or leaves a buffer allocated
   */
  capture(work: () => void): Program {
    if (this.capturing) throw new DeviceError("capture: a capture inside another is not supported");
    const launches: ProgramLaunch[] = [];
    this.capturing = launches;
    const { generation } = this.bindings; // what is freed meanwhile may be a group of these launches
    try {
      return { launches, blocks: this.pool.hold(work), generation };
    } finally {
      this.capturing = undefined;
    }
  }

  /** Records the launches of a program once more. The buffers that it was given from outside must be alive. */
  replay(program: Program): void {
    // Once more where asking freed others: half the cache goes at a time, so there is room for a program then.
    while (program.generation !== this.bindings.generation) {
      program.generation = this.bindings.generation;
      for (const launch of program.launches)
        launch.group = this.bindings.group(launch.plan.kernel.name, launch.plan.layout, launch.views);
    }
    for (const launch of program.launches) {
      const { plan, uniforms } = launch;
      if (plan.uniforms.length && launch.recording !== this.submits) {
        if (this.uniforms.full) this.flush();
        launch.offset = this.uniforms.add(plan.kernel.name, plan.uniforms, uniforms);
        launch.recording = this.submits;
      }
      this.record(plan, launch.group, launch.offset, launch.grid, uniforms);
    }
  }

  /** Gives a program's buffers back. */
  releaseProgram(program: Program): void {
    for (const block of program.blocks) this.release(block);
  }

  /** Copies bytes from one block to another; offsets and size are multiples of 4. */
  copy(from: View, to: View): void {
    if (this.observer) return;
    if (this.capturing) throw new DeviceError("capture: a copy between buffers can't be replayed; use a kernel");
    const bytes = Math.ceil(Math.min(from.bytes, to.bytes) / 4) * 4;
    this.endPass();
    this.encoder ??= this.device.createCommandEncoder();
    this.encoder.copyBufferToBuffer(from.block.buffer, from.offset, to.block.buffer, to.offset, bytes);
    this.recorded++;
  }

  /** Submits what was recorded. */
  flush(): void {
    this.endPass();
    if (!this.encoder) return;
    this.profiler.resolve(this.encoder);
    this.uniforms.upload();
    const commands = this.encoder.finish();
    this.device.queue.submit([commands]);
    this.provider.releaseCommands(commands);
    this.encoder = undefined;
    this.recorded = 0;
    this.submits++;
  }

  /** Uploads `data` (any byte length; the tail of the last word is zero). */
  write(to: View, data: ArrayBufferView): void {
    if (this.capturing) throw new DeviceError("capture: an upload can't be replayed; make the tensor before");
    this.flush(); // what was recorded may still read the old content
    const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
    const whole = bytes.byteLength - (bytes.byteLength % 4);
    for (let at = 0; at < whole; at += WRITE_CHUNK) {
      const part = bytes.subarray(at, Math.min(whole, at + WRITE_CHUNK));
      this.device.queue.writeBuffer(to.block.buffer, to.offset + at, part);
    }
    if (whole === bytes.byteLength) return;
    const tail = new Uint8Array(4);
    tail.set(bytes.subarray(whole));
    this.device.queue.writeBuffer(to.block.buffer, to.offset + whole, tail);
  }

  /**
   * Waits for all recorded work and reads a range back.
   * @throws whatever went wrong on the device since the last read
   */
  async read(from: View): Promise<ArrayBuffer> {
    const out = new Uint8Array(from.bytes);
    const padded = Math.ceil(from.bytes / 4) * 4;
    for (let at = 0; at < padded; at += READ_CHUNK) {
      try {
        await this.staging.read(from, at, Math.min(READ_CHUNK, padded - at), out);
      } catch (error) {
        await this.check();
        const why = error instanceof Error ? error.message : error;
        throw new DeviceLostError(`${this.name}: reading back failed, the device is lost (${why})`);
      }
    }
    await this.check();
    await this.profiler.tally();
    return out.buffer;
  }

  /** Waits until the device has done all recorded work. */
  async finish(): Promise<void> {
    this.flush();
    await this.device.queue.onSubmittedWorkDone();
    await this.check();
    await this.profiler.tally();
  }

  /** Creates the pipeline of a kernel ahead of its first launch. */
  prepare<S extends Shape, T extends Tuning>(kernel: Kernel<S, T>, shape: S, uniforms: Uniforms, tuning?: T): void {
    this.plans.get(kernel as unknown as Kernel<Shape, Tuning>, shape, uniforms, tuning);
  }

  /** See {@link PlanCache.experiment}. */
  experiment<R>(
    run: () => Promise<R>,
    launches: readonly { kernel: Kernel; shape: Shape; uniforms: Uniforms }[],
  ): Promise<R> {
    return this.plans.experiment(run, launches, () => this.flush());
  }

  /** By what launches are tuned now. */
  get tunings(): Tunings {
    return { adapter: adapterIdentity(this.adapter, this.provider), kernels: this.winners?.kernels ?? {} };
  }

  /** Launches by these tunings from here on; undefined: by what kernels pick. Captured programs stay as they are. */
  useWinners(winners: Winners | undefined): void {
    this.winners = winners;
    this.plans.forget();
  }

  /** Gives the pool's free buffers back to the adapter. */
  trim(): void {
    this.bindings.drop();
    this.pool.trim();
  }

  /** Releases everything. The device can't be used any more. */
  close(): void {
    if (this.closed) return;
    this.trim();
    this.closed = true;
    this.staging.close();
    this.uniforms.close();
    this.plans.close();
    this.profiler.close();
    this.pool.close();
    this.provider.close(this.device);
  }

  private async check(): Promise<void> {
    const failures = this.failures;
    this.failures = [];
    const scoped = (await Promise.all(failures)).find((failure) => failure !== null);
    const failure = scoped ?? this.failure; // what a scope caught names the kernel; what escaped follows from it
    if (!failure) return;
    if (!(failure instanceof DeviceLostError)) this.failure = undefined;
    throw failure;
  }

  private copyOut(from: View, at: number, to: GPUBuffer, bytes: number): void {
    this.endPass();
    this.encoder ??= this.device.createCommandEncoder();
    this.encoder.copyBufferToBuffer(from.block.buffer, from.offset + at, to, 0, bytes);
    this.flush();
  }

  private begin(plan: Plan, uniforms: Uniforms): GPUComputePassEncoder {
    this.encoder ??= this.device.createCommandEncoder();
    this.pass ??= this.encoder.beginComputePass(
      this.profiler.active ? this.profiler.next(plan.kernel, plan.shape, plan.tuning, uniforms) : undefined,
    );
    return this.pass;
  }

  private endPass(): void {
    if (!this.pass) return;
    this.pass.end();
    this.provider.releasePass(this.pass);
    this.pass = undefined;
  }
}
