/**
 * Compiles WGSL on Dawn's null adapter, which offers subgroup matrices and computes nothing, in a process of its own:
 * `bun test/kernels/tint.ts` reads a JSON list of `{ name, source, pipeline }` and prints what Tint says to each, or `null` where there is no Dawn for N-API.
 */
export interface Module {
  name: string;
  source: string;
  /** Whether to make a pipeline too, where Dawn validates fragments and workgroup size. */
  pipeline: boolean;
}

/** Errors and warnings by module, or undefined where the optional package `webgpu` is not installed. */
export async function compile(modules: Module[]): Promise<Record<string, string> | undefined> {
  const child = Bun.spawn([process.execPath, import.meta.path], { stdin: "pipe", stdout: "pipe", stderr: "ignore" });
  child.stdin.write(JSON.stringify(modules));
  child.stdin.end();
  const output = await new Response(child.stdout).text();
  return JSON.parse(output.trim().split("\n").at(-1) ?? "") ?? undefined;
}

async function main(): Promise<void> {
  const modules: Module[] = await Bun.stdin.json();
  const dawn = await import("webgpu" as string).catch(() => undefined);
  if (!dawn) return console.log("null");
  const gpu: GPU = dawn.create(["backend=null", "enable-dawn-features=allow_unsafe_apis"]);
  Object.assign(globalThis, dawn.globals, { kept: gpu }); // its collection crashes the process
  const adapter = await gpu.requestAdapter();
  const features = ["shader-f16", "subgroups", "subgroup-size-control", "chromium-experimental-subgroup-matrix"];
  const requiredFeatures = features as GPUFeatureName[];
  const device = await adapter?.requestDevice({ requiredFeatures });
  if (!device) return console.log("null");
  const said: Record<string, string> = {};
  for (const { name, source, pipeline } of modules) {
    device.pushErrorScope("validation");
    const module = device.createShaderModule({ code: source });
    const { messages } = await module.getCompilationInfo();
    if (pipeline) device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
    const error = await device.popErrorScope();
    const text = messages.map(({ type, lineNum, message }) => `${type} in line ${lineNum}: ${message}`).join("\n");
    if (text || error) said[name] = text || `${error?.message}`;
  }
  console.log(JSON.stringify(said));
  process.exit(0);
}

if (import.meta.main) await main();
