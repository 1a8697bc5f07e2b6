import { DeviceError, OutOfMemoryError } from "./errors.ts";

/** Buffers that nobody means to keep alive: a loop without a scope makes them, and some 21,000 crash llvmpipe (65,530 mappings of a process). */
const MOST_LIVE = 16_384;

/** A GPU buffer of the pool. `id` is never reused, so that a bind group's key can name it. */
export interface Block {
  id: number;
  buffer: GPUBuffer;
  /** Bytes of the buffer, at least what was asked for. */
  bytes: number;
  /** What lives in it, for the report of an out-of-memory error. */
  owner: Owner | undefined;
}

export interface Owner {
  name: string;
  shape: readonly number[];
  dtype: string;
}

export interface PoolStats {
  liveBuffers: number;
  liveBytes: number;
  peakBytes: number;
  freeBuffers: number;
  freeBytes: number;
  created: number;
}

const USAGE = 0x80 | 0x4 | 0x8; // STORAGE | COPY_SRC | COPY_DST
const ALIGN = 256;

/** Rounds up to a size class: at most an eighth is wasted, and the same shapes always meet the same class. */
export function sizeClass(bytes: number): number {
  const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
  if (size <= 8 * ALIGN) return size;
  const step = 2 ** (Math.floor(Math.log2(size)) - 3);
  return Math.ceil(size / Math.max(step, ALIGN)) * Math.max(step, ALIGN);
}

/**
 * Hands out buffers by size class, the oldest free one first: what a step gets depends only on what is live, so steps that
 * allocate in the same order get the same buffers, and the bind groups of the step before still fit.
 */
export class BufferPool {
  /** By size class, oldest last. */
  private free = new Map<number, Block[]>();
  private live = new Set<Block>();
  private nextId = 1;
  /** What {@link hold} keeps apart: its blocks, and those of them that are free. */
  private held: { own: Set<Block>; free: Map<number, Block[]> } | undefined;
  private stat: PoolStats = { liveBuffers: 0, liveBytes: 0, peakBytes: 0, freeBuffers: 0, freeBytes: 0, created: 0 };

  constructor(
    private readonly device: GPUDevice,
    private readonly maxBytes: number,
    private readonly destroy: (buffer: GPUBuffer) => void,
    private readonly onError: (failure: Promise<Error | null>) => void,
  ) {}

  get stats(): PoolStats {
    return { ...this.stat };
  }

  /** @throws OutOfMemoryError where the adapter takes no buffer of this size, with the largest live tensors */
  alloc(bytes: number, owner?: Owner): Block {
    const size = sizeClass(bytes);
    if (size > this.maxBytes) throw this.outOfMemory(bytes, owner, `the adapter's buffers end at ${mb(this.maxBytes)}`);
    if (this.stat.liveBuffers >= MOST_LIVE)
      throw this.outOfMemory(
        bytes,
        owner,
        `in ${MOST_LIVE} tensors`,
        "What a loop makes is freed by scope(() => …), using or dispose()",
      );
    const again = this.held?.free.get(size)?.pop();
    if (again) return again;
    const block = this.reuse(size) ?? this.create(size, owner);
    this.held?.own.add(block);
    block.owner = owner;
    this.live.add(block);
    this.stat.liveBuffers++;
    this.stat.liveBytes += size;
    this.stat.peakBytes = Math.max(this.stat.peakBytes, this.stat.liveBytes);
    return block;
  }

  release(block: Block): void {
    if (this.held?.own.has(block)) {
      this.held.free.set(block.bytes, [...(this.held.free.get(block.bytes) ?? []), block]);
      return;
    }
    if (!this.live.delete(block)) return;
    block.owner = undefined;
    this.stat.liveBuffers--;
    this.stat.liveBytes -= block.bytes;
    this.stat.freeBuffers++;
    this.stat.freeBytes += block.bytes;
    const list = this.free.get(block.bytes) ?? [];
    let at = list.length;
    while (at > 0 && list[at - 1].id < block.id) at--;
    list.splice(at, 0, block);
    this.free.set(block.bytes, list);
  }

  /**
   * Runs `work`, and gives the blocks that it allocated and freed. They serve it again and nobody else: they count as live until released.
   * @throws DeviceError where a block that it allocated is not freed
   */
  hold(work: () => void): Block[] {
    const held = { own: new Set<Block>(), free: new Map<number, Block[]>() };
    this.held = held;
    let done = false;
    try {
      work();
      done = true;
    } finally {
      this.held = undefined;
      if (!done) for (const block of [...held.free.values()].flat()) this.release(block);
    }
    const freed = [...held.free.values()].flat();
    if (freed.length === held.own.size) return freed;
    for (const block of freed) this.release(block);
    const [kept] = [...held.own].filter((block) => !freed.includes(block));
    throw new DeviceError(`capture: ${describe(kept.owner)} outlives the work that made it; make it before`);
  }

  /** Destroys the free buffers. The caller drops the bind groups that name them first. */
  trim(): void {
    for (const list of this.free.values()) for (const block of list) this.destroy(block.buffer);
    this.free.clear();
    this.stat.freeBuffers = 0;
    this.stat.freeBytes = 0;
  }

  close(): void {
    this.trim();
    for (const block of this.live) this.destroy(block.buffer);
    this.live.clear();
  }

  resetPeak(): void {
    this.stat.peakBytes = this.stat.liveBytes;
  }

  /** The largest live tensors, a line each. */
  largest(count = 8): string {
    const named = [...this.live].sort((a, b) => b.bytes - a.bytes).slice(0, count);
    return named.map((b) => `  ${mb(b.bytes).padStart(9)}  ${describe(b.owner)}`).join("\n");
  }

  private reuse(size: number): Block | undefined {
    const block = this.free.get(size)?.pop();
    if (block) {
      this.stat.freeBuffers--;
      this.stat.freeBytes -= size;
    }
    return block;
  }

  private create(size: number, owner?: Owner): Block {
    this.stat.created++;
    const watched = size >= 1 << 20;
    if (watched) this.device.pushErrorScope("out-of-memory");
    const buffer = this.device.createBuffer({ size, usage: USAGE });
    if (watched) {
      const report = () => this.outOfMemory(size, owner, "the adapter has none left");
      this.onError(this.device.popErrorScope().then((error) => (error ? report() : null)));
    }
    return { id: this.nextId++, buffer, bytes: size, owner };
  }

  private outOfMemory(
    bytes: number,
    owner: Owner | undefined,
    why: string,
    advice = "Use a smaller batch or sequence",
  ): OutOfMemoryError {
    return new OutOfMemoryError(
      `out of GPU memory: ${mb(bytes)} for ${describe(owner)} with ${mb(this.stat.liveBytes)} live, ${why}. ` +
        `${advice}.\nThe largest live tensors:\n${this.largest()}`,
    );
  }
}

export function mb(bytes: number): string {
  return bytes >= 1 << 30 ? `${(bytes / 2 ** 30).toFixed(2)} GB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

function describe(owner: Owner | undefined): string {
  return owner ? `${owner.name} [${owner.shape.join(", ")}] ${owner.dtype}` : "a buffer of the engine";
}
