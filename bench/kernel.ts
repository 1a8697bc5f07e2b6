import { Bench } from "tinybench";
import type { View } from "../framework/device/bindings.ts";
import type { Gpu } from "../framework/device/gpu.ts";
import type { AdapterRates } from "../framework/ops/measure.ts";
import type { KernelCase } from "./case.ts";
import type { Row } from "./table.ts";

/** Times one launch: median device time, its rate, and its share of what the adapter reaches at best. */
export async function measureCase(
  gpu: Gpu,
  { kernel, label, shape, uniforms = {}, buffers }: KernelCase,
  rates: AdapterRates,
): Promise<Row> {
  const views = Object.fromEntries(
    Object.entries(buffers).map(([name, content]) => [name, upload(gpu, name, content)]),
  );
  const launch = async () => {
    const start = performance.now();
    gpu.profiler.active = gpu.profiler.supported;
    gpu.launch(kernel, views, shape, uniforms);
    gpu.flush();
    const [time] = await gpu.profiler.take();
    gpu.profiler.active = false;
    if (time) return { overriddenDuration: time.ms };
    await gpu.finish();
    return { overriddenDuration: performance.now() - start };
  };
  const bench = new Bench({ time: 200, iterations: 5, warmupIterations: 2, warmupTime: 0 });
  bench.add(label, launch);
  const [task] = await bench.run();
  for (const view of Object.values(views)) gpu.release(view.block);
  const result = task.result;
  if (!("latency" in result))
    throw new Error(`bench ${kernel.name} ${label}: ${"error" in result ? result.error : "no result"}`);
  const ms = result.latency.p50;
  const { flops, bytes } = kernel.cost(shape, uniforms);
  const bound = Math.max(flops / rates.flops, bytes / rates.bytes) * 1000;
  return {
    name: kernel.name,
    case: label,
    ms,
    "GFLOP/s": flops / ms / 1e6,
    "GB/s": bytes / ms / 1e6,
    best: `${Math.round((100 * bound) / ms)}%`,
  };
}

function upload(gpu: Gpu, name: string, content: number | ArrayBufferView): View {
  const bytes = typeof content === "number" ? content : content.byteLength;
  const view = { block: gpu.alloc(bytes, { name, shape: [bytes / 4], dtype: "bench" }), offset: 0, bytes };
  const random = () => Float32Array.from({ length: Math.ceil(bytes / 4) }, (_, i) => Math.sin(i * 12.9898) * 0.5);
  gpu.write(view, typeof content === "number" ? random() : content);
  return view;
}
