import { describeAdapter, targetOf } from "./adapter.ts";
import { DeviceLostError, ShaderError } from "./errors.ts";
import {
  type Access,
  bindingsOf,
  defaultTuning,
  type Kernel,
  moduleSource,
  type Shape,
  type Target,
  type Tuning,
  type Uniforms,
} from "./kernel.ts";
import { type Block, BufferPool, type Owner } from "./pool.ts";
import { Profiler } from "./profile.ts";
import type { Provider } from "./provider.ts";

/** A range of a block, in bytes. `offset` is a multiple of the adapter's storage alignment (256 always does). */
export interface View {
  block: Block;
  offset: number;
  bytes: number;
}

interface Layout {
  id: number;
  group: GPUBindGroupLayout;
  pipeline: GPUPipelineLayout;
}

/** What a kernel and a shape come to: everything that a launch needs and no launch should compute again. */
interface Plan {
  kernel: Kernel<Shape, Tuning>;
  shape: Shape;
  tuning: Tuning;
  pipeline: GPUComputePipeline;
  layout: Layout;
  bindings: [name: string, access: Access][];
  uniforms: [name: string, type: "f32" | "u32" | "i32"][];
}

export interface GpuStats {
  dispatches: number;
  submits: number;
  pipelines: number;
  bindGroups: number;
  bindGroupsCreated: number;
}

const MAX_RECORDED = 1000; // dispatches per submit: long enough to cost nothing, short enough to keep the adapter busy
const MAX_BIND_GROUPS = 16384; // about 65,000 live ones crash llvmpipe
const UNIFORM_ARENA = 1 << 18;
const UNIFORM_WINDOW = 256;
const READ_CHUNK = 16 << 20; // copying out of a larger mapping is slow under bun-webgpu
const WRITE_CHUNK = 64 << 20;

/**
 * One device with its caches. Launches are recorded into one compute pass; they run at a `flush`, a `read`, or when the
 * recording is long. `read` is the only asynchronous operation, and where errors of all work before it surface.
 */
export class Gpu {
  readonly target: Target;
  readonly pool: BufferPool;
  readonly profiler: Profiler;
  readonly stats: GpuStats = { dispatches: 0, submits: 0, pipelines: 0, bindGroups: 0, bindGroupsCreated: 0 };
  /** A kernel's tuning by name, over what it would pick: how tests and benches force a variant. */
  readonly forced = new Map<string, Tuning>();

  private encoder: GPUCommandEncoder | undefined;
  private pass: GPUComputePassEncoder | undefined;
  private recorded = 0;
  private uniformTop = 0;
  private readonly uniformStep: number;
  private readonly uniformData = new ArrayBuffer(UNIFORM_ARENA);
  private readonly uniformF32 = new Float32Array(this.uniformData);
  private readonly uniformU32 = new Uint32Array(this.uniformData);
  private readonly uniformI32 = new Int32Array(this.uniformData);
  private readonly uniformBuffer: GPUBuffer;
  private readonly dynamicOffset = new Uint32Array(1);
  private readonly plans = new Map<object, Map<string, Plan>>();
  private readonly pipelines = new Map<string, GPUComputePipeline>();
  private readonly layouts = new Map<string, Layout>();
  private readonly bindGroups = new Map<string, GPUBindGroup>();
  private readonly staging: GPUBuffer[] = [];
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
    this.uniformStep = Math.max(device.limits.minUniformBufferOffsetAlignment, 16);
    this.uniformBuffer = device.createBuffer({ size: UNIFORM_ARENA + UNIFORM_WINDOW, usage: 0x40 | 0x8 }); // UNIFORM | COPY_DST
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
    const plan = this.plan(kernel as unknown as Kernel<Shape, Tuning>, shape, tuning);
    const [x, y = 1, z = 1] = kernel.workgroups(shape, plan.tuning as T, uniforms);
    if (x === 0 || y === 0 || z === 0) return;
    if (Math.max(x, y, z) > this.device.limits.maxComputeWorkgroupsPerDimension) {
      throw new ShaderError(
        `${kernel.name}: ${x} × ${y} × ${z} workgroups are more than ${this.name} takes (${describeShape(shape)})`,
      );
    }
    const offset = this.writeUniforms(plan, uniforms);
    const group = this.bindGroup(plan, views);
    const pass = this.begin(plan, uniforms);
    pass.setPipeline(plan.pipeline);
    if (plan.uniforms.length) {
      this.dynamicOffset[0] = offset;
      pass.setBindGroup(0, group, this.dynamicOffset, 0, 1);
    } else pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, y, z);
    this.stats.dispatches++;
    if (this.profiler.active) this.endPass();
    if (++this.recorded >= (this.profiler.active ? this.profiler.capacity : MAX_RECORDED)) this.flush();
  }

  /** Copies bytes from one block to another; offsets and size are multiples of 4. */
  copy(from: View, to: View): void {
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
    if (this.uniformTop) {
      this.device.queue.writeBuffer(this.uniformBuffer, 0, this.uniformData, 0, Math.ceil(this.uniformTop / 4) * 4);
      this.uniformTop = 0;
    }
    const commands = this.encoder.finish();
    this.device.queue.submit([commands]);
    this.provider.releaseCommands(commands);
    this.encoder = undefined;
    this.recorded = 0;
    this.stats.submits++;
  }

  /** Uploads `data` (any byte length; the tail of the last word is zero). */
  write(to: View, data: ArrayBufferView): void {
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
      const size = Math.min(READ_CHUNK, padded - at);
      const staging = await this.copyOut(from, at, size);
      out.set(new Uint8Array(staging.getMappedRange(0, size)).subarray(0, from.bytes - at), at);
      staging.unmap();
      this.staging.push(staging);
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
  prepare<S extends Shape, T extends Tuning>(kernel: Kernel<S, T>, shape: S, tuning?: T): void {
    this.plan(kernel as unknown as Kernel<Shape, Tuning>, shape, tuning);
  }

  /** Gives the pool's free buffers back to the adapter. */
  trim(): void {
    this.flush();
    for (const group of this.bindGroups.values()) this.provider.release(group);
    this.bindGroups.clear();
    this.stats.bindGroups = 0;
    this.pool.trim();
  }

  /** Releases everything. The device can't be used any more. */
  close(): void {
    if (this.closed) return;
    this.trim();
    this.closed = true;
    for (const buffer of this.staging) this.provider.releaseBuffer(buffer);
    this.provider.releaseBuffer(this.uniformBuffer);
    for (const pipeline of this.pipelines.values()) this.provider.release(pipeline);
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

  /** Copies part of a view into a mapped buffer. */
  private async copyOut(from: View, at: number, size: number): Promise<GPUBuffer> {
    try {
      const staging = this.stagingBuffer(size);
      this.endPass();
      this.encoder ??= this.device.createCommandEncoder();
      this.encoder.copyBufferToBuffer(from.block.buffer, from.offset + at, staging, 0, size);
      this.flush();
      await staging.mapAsync(1, 0, size); // GPUMapMode.READ
      return staging;
    } catch (error) {
      await this.check();
      const why = error instanceof Error ? error.message : error;
      throw new DeviceLostError(`${this.name}: reading back failed, the device is lost (${why})`);
    }
  }

  private stagingBuffer(size: number): GPUBuffer {
    const fit = this.staging.findIndex((b) => b.size >= size && b.size <= Math.max(size * 4, 4096));
    if (fit >= 0) return this.staging.splice(fit, 1)[0];
    if (this.staging.length >= 8) this.provider.releaseBuffer(this.staging.shift() as GPUBuffer);
    const bytes = Math.max(256, 2 ** Math.ceil(Math.log2(size)));
    return this.device.createBuffer({ size: bytes, usage: 0x1 | 0x8 }); // MAP_READ | COPY_DST
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

  private writeUniforms(plan: Plan, uniforms: Uniforms): number {
    if (!plan.uniforms.length) return 0;
    if (this.uniformTop + UNIFORM_WINDOW > UNIFORM_ARENA) this.flush();
    const at = this.uniformTop;
    let word = at >> 2;
    for (const [name, type] of plan.uniforms) {
      const value = uniforms[name];
      if (value === undefined) throw new ShaderError(`${plan.kernel.name}: uniform ${name} is missing`);
      if (type === "f32") this.uniformF32[word++] = value;
      else if (type === "u32") this.uniformU32[word++] = value;
      else this.uniformI32[word++] = value;
    }
    this.uniformTop = Math.ceil((word * 4) / this.uniformStep) * this.uniformStep;
    return at;
  }

  private bindGroup(plan: Plan, views: Record<string, View>): GPUBindGroup {
    let key = `${plan.layout.id}`;
    for (const [name] of plan.bindings) {
      const view = views[name];
      if (!view) throw new ShaderError(`${plan.kernel.name}: nothing is bound to ${name}`);
      key += `|${view.block.id}:${view.offset}:${view.bytes}`;
    }
    let group = this.bindGroups.get(key);
    if (group) return group;
    this.checkViews(plan, views);
    const entries: GPUBindGroupEntry[] = plan.bindings.map(([name], binding) => {
      const { block, offset, bytes } = views[name];
      const size = Math.min(Math.ceil(bytes / 16) * 16, block.bytes - offset); // whole vec4s; blocks are padded
      return { binding, resource: { buffer: block.buffer, offset, size: Math.max(size, 16) } };
    });
    if (plan.uniforms.length) {
      entries.push({
        binding: entries.length,
        resource: { buffer: this.uniformBuffer, offset: 0, size: UNIFORM_WINDOW },
      });
    }
    group = this.device.createBindGroup({ layout: plan.layout.group, entries });
    if (this.bindGroups.size >= MAX_BIND_GROUPS) this.dropBindGroups();
    this.bindGroups.set(key, group);
    this.stats.bindGroups = this.bindGroups.size;
    this.stats.bindGroupsCreated++;
    return group;
  }

  /** Frees the older half of the cache, after what was recorded with it is submitted. */
  private dropBindGroups(): void {
    this.flush();
    let left = MAX_BIND_GROUPS / 2;
    for (const [key, group] of this.bindGroups) {
      if (left-- === 0) break;
      this.provider.release(group);
      this.bindGroups.delete(key);
    }
  }

  private checkViews(plan: Plan, views: Record<string, View>): void {
    const limit = this.device.limits.maxStorageBufferBindingSize;
    const written = new Map(
      plan.bindings.filter(([, access]) => access !== "read").map(([name]) => [views[name].block, name]),
    );
    for (const [name, access] of plan.bindings) {
      const { block, bytes } = views[name];
      if (bytes > limit) {
        const over = `${(bytes / 2 ** 20).toFixed(0)} MB, and ${this.name} binds ${(limit / 2 ** 20).toFixed(0)} MB at most`;
        throw new ShaderError(
          `${plan.kernel.name}: ${name} is ${over}. Use a smaller batch or sequence (${describeShape(plan.shape)})`,
        );
      }
      const writer = written.get(block);
      if (access === "read" && writer)
        throw new ShaderError(`${plan.kernel.name}: ${name} and ${writer} share a buffer that is written`);
    }
  }

  private plan(kernel: Kernel<Shape, Tuning>, shape: Shape, forced?: Tuning): Plan {
    const byShape = this.plans.get(kernel) ?? new Map<string, Plan>();
    this.plans.set(kernel, byShape);
    const chosen = forced ?? this.forced.get(kernel.name);
    let key = "";
    for (const name in shape) key += `${shape[name]},`;
    if (chosen) key += JSON.stringify(chosen);
    let plan = byShape.get(key);
    if (!plan) {
      const tuning = chosen ?? defaultTuning(kernel, shape, this.target);
      plan = this.compile(kernel, shape, tuning);
      byShape.set(key, plan);
    }
    return plan;
  }

  private compile(kernel: Kernel<Shape, Tuning>, shape: Shape, tuning: Tuning): Plan {
    const bindings = Object.entries(bindingsOf(kernel, shape));
    const uniforms = Object.entries(kernel.uniforms ?? {});
    const layout = this.layout(bindings, uniforms.length > 0);
    const source = moduleSource(kernel, shape, tuning);
    let pipeline = this.pipelines.get(source);
    if (!pipeline) {
      if (this.profiler.debug >= 2) console.error(`--- ${kernel.name} ${describeShape(shape)}\n${source}`);
      this.device.pushErrorScope("validation");
      const module = this.device.createShaderModule({ code: source, label: kernel.name });
      pipeline = this.device.createComputePipeline({
        label: kernel.name,
        layout: layout.pipeline,
        compute: { module, entryPoint: "main" },
      });
      const where = `${kernel.name} (${describeShape(shape)}) on ${this.name}`;
      this.failures.push(
        this.device.popErrorScope().then((error) => (error ? new ShaderError(`${where}: ${error.message}`) : null)),
      );
      this.provider.release(module);
      this.pipelines.set(source, pipeline);
      this.stats.pipelines = this.pipelines.size;
    }
    return { kernel, shape, tuning, pipeline, layout, bindings, uniforms };
  }

  private layout(bindings: [string, Access][], hasUniforms: boolean): Layout {
    const signature = bindings.map(([, access]) => (access === "read" ? "r" : "w")).join("") + (hasUniforms ? "u" : "");
    let layout = this.layouts.get(signature);
    if (layout) return layout;
    const entries: GPUBindGroupLayoutEntry[] = bindings.map(([, access], binding) => ({
      binding,
      visibility: 4, // COMPUTE
      buffer: { type: access === "read" ? "read-only-storage" : "storage" },
    }));
    if (hasUniforms)
      entries.push({ binding: entries.length, visibility: 4, buffer: { type: "uniform", hasDynamicOffset: true } });
    const group = this.device.createBindGroupLayout({ entries });
    layout = {
      id: this.layouts.size,
      group,
      pipeline: this.device.createPipelineLayout({ bindGroupLayouts: [group] }),
    };
    this.layouts.set(signature, layout);
    return layout;
  }
}

function describeShape(shape: Shape): string {
  return Object.entries(shape)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}
