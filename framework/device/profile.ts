import type { Kernel, Shape, Tuning, Uniforms } from "./kernel.ts";
import type { Provider } from "./provider.ts";

export interface LaunchTime {
  kernel: string;
  shape: Shape;
  tuning: Tuning;
  flops: number;
  bytes: number;
  ms: number;
}

const PAIRS = 1000;

/**
 * Device time of every launch, from a timestamp pair around a pass of its own. Active only while somebody measures: a pass
 * for each launch costs more than sharing one.
 */
export class Profiler {
  active = false;
  /** `DEBUG=1` lists kernels with their times, `DEBUG=2` their WGSL too. */
  readonly debug = Number(process.env.DEBUG ?? 0) || 0;
  readonly capacity = PAIRS;
  private pending: Omit<LaunchTime, "ms">[] = [];
  private readonly batches: { launches: Omit<LaunchTime, "ms">[]; buffer: GPUBuffer }[] = [];
  private queries: GPUQuerySet | undefined;
  private resolved: GPUBuffer | undefined;

  constructor(
    private readonly device: GPUDevice,
    private readonly provider: Provider,
  ) {}

  get supported(): boolean {
    return this.device.features.has("timestamp-query");
  }

  next(kernel: Kernel<Shape, Tuning>, shape: Shape, tuning: Tuning, uniforms: Uniforms): GPUComputePassDescriptor {
    this.queries ??= this.device.createQuerySet({ type: "timestamp", count: PAIRS * 2 });
    const i = this.pending.length;
    this.pending.push({ kernel: kernel.name, shape, tuning, ...kernel.cost(shape, uniforms) });
    return {
      timestampWrites: { querySet: this.queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
    };
  }

  /** Called at the end of a recording. */
  resolve(encoder: GPUCommandEncoder): void {
    if (!this.pending.length || !this.queries) return;
    const bytes = this.pending.length * 16;
    this.resolved ??= this.device.createBuffer({ size: PAIRS * 16, usage: 0x200 | 0x4 }); // QUERY_RESOLVE | COPY_SRC
    const buffer = this.device.createBuffer({ size: bytes, usage: 0x1 | 0x8 });
    encoder.resolveQuerySet(this.queries, 0, this.pending.length * 2, this.resolved, 0);
    encoder.copyBufferToBuffer(this.resolved, 0, buffer, 0, bytes);
    this.batches.push({ launches: this.pending, buffer });
    this.pending = [];
  }

  /** The launches since the last call, in order. The caller has flushed. */
  async take(): Promise<LaunchTime[]> {
    const times: LaunchTime[] = [];
    for (const { launches, buffer } of this.batches.splice(0)) {
      await buffer.mapAsync(1);
      const ns = new BigUint64Array(buffer.getMappedRange().slice(0));
      buffer.unmap();
      this.provider.releaseBuffer(buffer);
      launches.forEach((launch, i) => {
        times.push({ ...launch, ms: Number(ns[2 * i + 1] - ns[2 * i]) / 1e6 });
      });
    }
    return times;
  }

  close(): void {
    if (this.resolved) this.provider.releaseBuffer(this.resolved);
    if (this.queries) this.provider.release(this.queries);
  }
}
