import { ShaderError } from "./errors.ts";
import type { Access } from "./kernel.ts";
import type { Block } from "./pool.ts";
import type { Provider } from "./provider.ts";
import { UNIFORM_WINDOW } from "./uniforms.ts";

/** A range of a block, in bytes. `offset` is a multiple of the adapter's storage alignment (256 always does). */
export interface View {
  block: Block;
  offset: number;
  bytes: number;
}

/** What a kernel binds, in WebGPU's terms; kernels that bind alike share one. */
export interface Layout {
  id: number;
  names: readonly [name: string, access: Access][];
  hasUniforms: boolean;
  group: GPUBindGroupLayout;
  pipeline: GPUPipelineLayout;
}

/** Layouts and bind groups, each made once: by what is bound, and by the buffers. */
export class BindingCache {
  created = 0;
  /** Live bind groups at most; about 65,000 crash llvmpipe. */
  most = 16384;
  /** Counts up where groups were freed: who holds one must ask again. */
  generation = 0;
  private readonly layouts = new Map<string, Layout>();
  private readonly groups = new Map<string, GPUBindGroup>();

  constructor(
    private readonly device: GPUDevice,
    private readonly provider: Provider,
    private readonly uniforms: GPUBuffer,
    /** Submits what was recorded with the groups that are about to go. */
    private readonly flush: () => void,
  ) {}

  get live(): number {
    return this.groups.size;
  }

  layout(names: readonly [string, Access][], hasUniforms: boolean): Layout {
    const signature = names.map(([, access]) => (access === "read" ? "r" : "w")).join("") + (hasUniforms ? "u" : "");
    const known = this.layouts.get(signature);
    if (known) return { ...known, names };
    const entries: GPUBindGroupLayoutEntry[] = names.map(([, access], binding) => ({
      binding,
      visibility: 4, // COMPUTE
      buffer: { type: access === "read" ? "read-only-storage" : "storage" },
    }));
    if (hasUniforms)
      entries.push({ binding: entries.length, visibility: 4, buffer: { type: "uniform", hasDynamicOffset: true } });
    const group = this.device.createBindGroupLayout({ entries });
    const pipeline = this.device.createPipelineLayout({ bindGroupLayouts: [group] });
    const layout = { id: this.layouts.size, names, hasUniforms, group, pipeline };
    this.layouts.set(signature, layout);
    return layout;
  }

  /**
   * The bind group of a kernel's views.
   * @throws ShaderError where a binding is missing, larger than the adapter binds, or read from a buffer that is written
   */
  group(kernel: string, layout: Layout, views: Record<string, View>): GPUBindGroup {
    let key = `${layout.id}`;
    for (const [name] of layout.names) {
      const view = views[name];
      if (!view) throw new ShaderError(`${kernel}: nothing is bound to ${name}`);
      key += `|${view.block.id}:${view.offset}:${view.bytes}`;
    }
    const known = this.groups.get(key);
    if (known) return known;
    this.check(kernel, layout, views);
    const entries: GPUBindGroupEntry[] = layout.names.map(([name], binding) => {
      const { block, offset, bytes } = views[name];
      const size = Math.min(Math.ceil(bytes / 16) * 16, block.bytes - offset); // whole vec4s; blocks are padded
      return { binding, resource: { buffer: block.buffer, offset, size: Math.max(size, 16) } };
    });
    if (layout.hasUniforms)
      entries.push({ binding: entries.length, resource: { buffer: this.uniforms, offset: 0, size: UNIFORM_WINDOW } });
    const group = this.device.createBindGroup({ layout: layout.group, entries });
    if (this.groups.size >= this.most) this.drop(Math.ceil(this.most / 2));
    this.groups.set(key, group);
    this.created++;
    return group;
  }

  /** Frees the oldest bind groups, or all. */
  drop(count = this.groups.size): void {
    this.flush();
    this.generation++;
    let left = count;
    for (const [key, group] of this.groups) {
      if (left-- <= 0) break;
      this.provider.release(group);
      this.groups.delete(key);
    }
  }

  private check(kernel: string, { names }: Layout, views: Record<string, View>): void {
    const limit = this.device.limits.maxStorageBufferBindingSize;
    const mb = (bytes: number) => `${(bytes / 2 ** 20).toFixed(0)} MB`;
    const written = new Map(names.filter(([, access]) => access !== "read").map(([name]) => [views[name].block, name]));
    for (const [name, access] of names) {
      const { block, bytes } = views[name];
      if (bytes > limit) {
        throw new ShaderError(
          `${kernel}: ${name} is ${mb(bytes)}, and the adapter binds ${mb(limit)} at most. Use a smaller batch or sequence`,
        );
      }
      const writer = written.get(block);
      if (access === "read" && writer)
        throw new ShaderError(`${kernel}: ${name} and ${writer} share a buffer that is written`);
    }
  }
}
