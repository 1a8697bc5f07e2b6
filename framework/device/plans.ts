import type { BindingCache, Layout } from "./bindings.ts";
import { ShaderError } from "./errors.ts";
import {
  bindingsOf,
  defaultTuning,
  type Kernel,
  moduleSource,
  roundedSizes,
  type Shape,
  sizeKey,
  type Target,
  type Tuning,
  type Uniforms,
} from "./kernel.ts";
import type { Provider } from "./provider.ts";
import type { UniformFields } from "./uniforms.ts";
import type { Winners } from "./winners.ts";

/** What a kernel and a shape come to: everything that a launch needs and no launch should compute again. */
export interface Plan {
  kernel: Kernel<Shape, Tuning>;
  shape: Shape;
  tuning: Tuning;
  pipeline: GPUComputePipeline;
  layout: Layout;
  uniforms: UniformFields;
  /** What joins the partial results that this tuning leaves. */
  join: { plan: Plan; bytes: (uniforms: Uniforms) => number } | undefined;
}

/** What plans are made with. */
export interface PlanSource {
  readonly name: string;
  readonly device: GPUDevice;
  readonly provider: Provider;
  target: Target;
  winners: Winners | undefined;
}

/** Plans by kernel, shape and class of sizes; pipelines by their source. */
export class PlanCache {
  private readonly plans = new Map<object, Map<string, Plan>>();
  private readonly pipelines = new Map<string, GPUComputePipeline>();

  constructor(
    private readonly source: PlanSource,
    private readonly bindings: BindingCache,
    private readonly onFailure: (failure: Promise<Error | null>) => void,
    private readonly debug: number,
  ) {}

  get size(): number {
    return this.pipelines.size;
  }

  /** The plan of a launch: under `given`, else under what was measured best, else under what the kernel picks. */
  get(kernel: Kernel<Shape, Tuning>, shape: Shape, uniforms: Uniforms, given?: Tuning): Plan {
    const byShape = this.plans.get(kernel) ?? new Map<string, Plan>();
    this.plans.set(kernel, byShape);
    let key = "";
    for (const name in shape) key += `${shape[name]},`;
    if (given) key += JSON.stringify(given);
    else if (kernel.sizes) key += sizeKey(kernel.sizes, uniforms);
    let plan = byShape.get(key);
    if (!plan) {
      const { winners, target } = this.source;
      const tuning =
        given ??
        winners?.find(kernel, shape, uniforms, target)?.tuning ??
        defaultTuning(kernel, shape, target, roundedSizes(kernel, uniforms));
      plan = this.compile(kernel, shape, tuning);
      byShape.set(key, plan);
    }
    return plan;
  }

  /**
   * Runs what tries many pipelines and may change winners; then the launches that it names are planned anew, and pipelines
   * that it made and nobody uses are released.
   */
  async experiment<R>(
    run: () => Promise<R>,
    launches: readonly { kernel: Kernel; shape: Shape; uniforms: Uniforms }[],
    flush: () => void,
  ): Promise<R> {
    const before = new Set(this.pipelines.values());
    try {
      return await run();
    } finally {
      flush();
      for (const { kernel } of launches) this.plans.delete(kernel);
      for (const { kernel, shape, uniforms } of launches) this.get(kernel, shape, uniforms);
      const used = new Set([...this.plans.values()].flatMap((plans) => [...plans.values()]).flatMap(pipelinesOf));
      for (const [source, pipeline] of this.pipelines) {
        if (before.has(pipeline) || used.has(pipeline)) continue;
        this.source.provider.release(pipeline);
        this.pipelines.delete(source);
      }
    }
  }

  /** Plans all launches anew from here on: what was measured best is another. */
  forget(): void {
    this.plans.clear();
  }

  close(): void {
    for (const pipeline of this.pipelines.values()) this.source.provider.release(pipeline);
  }

  private compile(kernel: Kernel<Shape, Tuning>, shape: Shape, tuning: Tuning): Plan {
    const bindings = Object.entries(bindingsOf(kernel, shape, tuning));
    const uniforms = Object.entries(kernel.uniforms ?? {});
    const layout = this.bindings.layout(bindings, uniforms.length > 0);
    const source = moduleSource(kernel, shape, tuning, this.source.target);
    let pipeline = this.pipelines.get(source);
    if (!pipeline) {
      if (source.startsWith("enable f16;") && !this.source.target.f16)
        throw new ShaderError(`${kernel.name}: ${this.source.name} has no f16; stay with f32`);
      if (this.debug >= 2) console.error(`--- ${kernel.name} ${describeShape(shape)}\n${source}`);
      pipeline = this.pipeline(kernel, shape, source, layout);
      this.pipelines.set(source, pipeline);
    }
    const join = kernel.join?.(shape, tuning);
    const plan =
      join && this.compile(join.kernel, join.shape, defaultTuning(join.kernel, join.shape, this.source.target));
    return { kernel, shape, tuning, pipeline, layout, uniforms, join: plan && { plan, bytes: join.bytes } };
  }

  private pipeline(kernel: Kernel<Shape, Tuning>, shape: Shape, code: string, layout: Layout): GPUComputePipeline {
    const { device, provider, name } = this.source;
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code, label: kernel.name });
    const pipeline = device.createComputePipeline({
      label: `${kernel.name} (${describeShape(shape)})`,
      layout: layout.pipeline,
      compute: { module, entryPoint: "main" },
    });
    const where = `${kernel.name} (${describeShape(shape)}) on ${name}`;
    this.onFailure(
      device.popErrorScope().then((error) => (error ? new ShaderError(`${where}: ${error.message}`) : null)),
    );
    provider.release(module);
    return pipeline;
  }
}

const pipelinesOf = ({ pipeline, join }: Plan): GPUComputePipeline[] =>
  join ? [pipeline, join.plan.pipeline] : [pipeline];

export function describeShape(shape: Shape): string {
  return Object.entries(shape)
    .map(([name, value]) => `${name} ${value}`)
    .join(", ");
}
