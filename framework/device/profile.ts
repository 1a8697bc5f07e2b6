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

/** The launches of one kernel, together. */
export interface KernelTotal {
  name: string;
  launches: number;
  ms: number;
  flops: number;
  bytes: number;
}

const PAIRS = 1000;

/** Launches summed by kernel (products by layout, element-wise launches by expression), the longest first. */
export function totalsByKernel(launches: Iterable<LaunchTime>, totals = new Map<string, KernelTotal>()): KernelTotal[] {
  for (const { kernel, shape, ms, flops, bytes } of launches) {
    const detail =
      kernel === "matmul" ? ` ${shape.layout}` : kernel === "pointwise" ? ` ${String(shape.expr).slice(0, 28)}` : "";
    const name = kernel + detail;
    const total = totals.get(name) ?? { name, launches: 0, ms: 0, flops: 0, bytes: 0 };
    totals.set(name, total);
    total.launches++;
    total.ms += ms;
    total.flops += flops;
    total.bytes += bytes;
  }
  return [...totals.values()].sort((a, b) => b.ms - a.ms);
}

/**
 * Device time of every launch, from a timestamp pair around a pass of its own. Active only while somebody measures: a pass
 * for each launch costs more than sharing one.
 */
export class Profiler {
  active = false;
  /** `DEBUG=1` lists kernels with their times, `DEBUG=2` their WGSL too. */
  readonly debug = Number(process.env.DEBUG ?? 0) || 0;
  readonly capacity = PAIRS;
  private readonly totals = new Map<string, KernelTotal>();
  private pending: Omit<LaunchTime, "ms">[] = [];
  private readonly batches: { launches: Omit<LaunchTime, "ms">[]; buffer: GPUBuffer }[] = [];
  private queries: GPUQuerySet | undefined;
  private resolved: GPUBuffer | undefined;

  constructor(
    private readonly device: GPUDevice,
    private readonly provider: Provider,
  ) {}

  /** With DEBUG set, times everything from here on and prints the kernels when the process ends. */
  watch(): void {
    if (!this.debug || !this.supported) return;
    this.active = true;
    process.on("exit", () => {
      const all = totalsByKernel([], this.totals);
      const lines = all.map(
        (k) =>
          `${k.ms.toFixed(2).padStart(12)} ms ${String(k.launches).padStart(7)} ×  ${(k.flops / k.ms / 1e6).toFixed(1).padStart(7)} GFLOP/s  ${k.name}`,
      );
      console.error(`kernels by device time:\n${lines.join("\n")}`);
    });
  }

  /** Adds what was measured so far to the totals that {@link watch} prints. */
  async tally(): Promise<void> {
    if (this.debug && this.active) totalsByKernel(await this.take(), this.totals);
  }

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
