import type { View } from "./bindings.ts";
import type { Provider } from "./provider.ts";

const KEPT = 8;
const [MAP_READ, COPY_DST] = [0x1, 0x8];

/** Buffers that the host can map, through which results are read back; kept for the next read. */
export class Staging {
  private readonly free: GPUBuffer[] = [];

  constructor(
    private readonly device: GPUDevice,
    private readonly provider: Provider,
    /** Records a copy and submits it with all that was recorded before. */
    private readonly copy: (from: View, at: number, to: GPUBuffer, bytes: number) => void,
  ) {}

  /** Waits for all recorded work, and writes bytes `at` to `at + bytes` of a view (a multiple of 4) to `out`, as far as it reaches. */
  async read(from: View, at: number, bytes: number, out: Uint8Array): Promise<void> {
    const buffer = this.take(bytes);
    this.copy(from, at, buffer, bytes);
    await buffer.mapAsync(MAP_READ, 0, bytes);
    out.set(new Uint8Array(buffer.getMappedRange(0, bytes)).subarray(0, out.byteLength - at), at);
    buffer.unmap();
    this.free.push(buffer);
  }

  close(): void {
    for (const buffer of this.free) this.provider.releaseBuffer(buffer);
  }

  private take(bytes: number): GPUBuffer {
    const fit = this.free.findIndex((b) => b.size >= bytes && b.size <= Math.max(bytes * 4, 4096));
    if (fit >= 0) return this.free.splice(fit, 1)[0];
    if (this.free.length >= KEPT) this.provider.releaseBuffer(this.free.shift() as GPUBuffer);
    const size = Math.max(256, 2 ** Math.ceil(Math.log2(bytes)));
    return this.device.createBuffer({ size, usage: MAP_READ | COPY_DST });
  }
}
