import { ShaderError } from "./errors.ts";
import type { Uniforms } from "./kernel.ts";
import type { Provider } from "./provider.ts";

export type UniformFields = readonly [name: string, type: "f32" | "u32" | "i32"][];

const BYTES = 1 << 18;
/** What a launch sees of the buffer. */
export const UNIFORM_WINDOW = 256;

/** The uniforms of all launches of a recording, in one buffer: a launch binds it once for good and names its place by a dynamic offset. */
export class UniformArena {
  readonly buffer: GPUBuffer;
  private top = 0;
  private readonly step: number;
  private readonly data = new ArrayBuffer(BYTES);
  private readonly f32 = new Float32Array(this.data);
  private readonly u32 = new Uint32Array(this.data);
  private readonly i32 = new Int32Array(this.data);

  constructor(
    private readonly device: GPUDevice,
    private readonly provider: Provider,
  ) {
    this.step = Math.max(device.limits.minUniformBufferOffsetAlignment, 16);
    this.buffer = device.createBuffer({ size: BYTES + UNIFORM_WINDOW, usage: 0x40 | 0x8 }); // UNIFORM | COPY_DST
  }

  get full(): boolean {
    return this.top + UNIFORM_WINDOW > BYTES;
  }

  /** The offset at which the values now stand. @throws ShaderError where one is missing */
  add(kernel: string, fields: UniformFields, values: Uniforms): number {
    const at = this.top;
    let word = at >> 2;
    for (const [name, type] of fields) {
      const value = values[name];
      if (value === undefined) throw new ShaderError(`${kernel}: uniform ${name} is missing`);
      if (type === "f32") this.f32[word++] = value;
      else if (type === "u32") this.u32[word++] = value;
      else this.i32[word++] = value;
    }
    this.top = Math.ceil((word * 4) / this.step) * this.step;
    return at;
  }

  /** Uploads what the recording gathered; call it before the submit. Uploads and submits keep their order on the queue. */
  upload(): void {
    if (this.top === 0) return;
    this.device.queue.writeBuffer(this.buffer, 0, this.data, 0, Math.ceil(this.top / 4) * 4);
    this.top = 0;
  }

  close(): void {
    this.provider.releaseBuffer(this.buffer);
  }
}
