import { afterAll, describe, expect, test } from "bun:test";
import { availableParallelism } from "node:os";
import {
  describeAdapter,
  matrixFeature,
  matrixOf,
  refuseNull,
  subgroupControlFeature,
  targetOf,
} from "../../framework/device/adapter.ts";
import type { View } from "../../framework/device/bindings.ts";
import type { Gpu } from "../../framework/device/gpu.ts";
import { type Kernel, kernel, linearIndex, linearWorkgroups, moduleSource } from "../../framework/device/kernel.ts";
import { choose, openGpu, summary, trySubgroups } from "../../framework/device/open.ts";
import { BufferPool, sizeClass } from "../../framework/device/pool.ts";
import { loadProvider, type Provider } from "../../framework/device/provider.ts";
import { halfTest, selfTest, unitTest } from "../../framework/device/selfTest.ts";

const gpu = await openGpu();
afterAll(() => gpu.close());

const view = (bytes: number, on: Gpu = gpu): View => ({
  block: on.alloc(bytes, { name: "test", shape: [bytes / 4], dtype: "f32" }),
  offset: 0,
  bytes,
});

const scaled = kernel({
  name: "scaled",
  bindings: { x: "read", y: "write" },
  uniforms: { n: "u32", by: "f32" },
  workgroups: (_: Record<never, never>, __, { n }) => linearWorkgroups(Math.ceil(n / 64)),
  cost: (_, { n }) => ({ flops: n, bytes: 8 * n }),
  wgsl: () =>
    `@compute @workgroup_size(64) fn main(${linearIndex.params}) { let i = ${linearIndex.group} * 64u + lane; if (i < u.n) { y[i] = x[i] * u.by; } }`,
});

describe("the adapter", () => {
  test("is named with what matters", () => {
    expect(summary(gpu)).toMatch(
      /\(.*(bun-webgpu|dawn|navigator)\): f16 (yes|no), subgroups .*, buffers to .*, shared memory \d+ KB/,
    );
    expect(describeAdapter(gpu.adapter).name.length).toBeGreaterThan(2);
  });
  const driverThreads = process.platform === "linux" && gpu.provider.name === "bun-webgpu";
  test.skipIf(!driverThreads || !/llvmpipe/.test(describeAdapter(gpu.adapter).name))(
    "on few cores has two driver threads for each, or as many as are asked for",
    () => {
      const { LP_NUM_THREADS: asked, ...env } = process.env;
      const count = `require("node:fs").readdirSync("/proc/self/task").filter((t) => require("node:fs").readFileSync("/proc/self/task/" + t + "/comm", "utf8").startsWith("llvmpipe")).length`;
      const script = `await (await import("./framework/index.ts")).init(); console.log(${count}); process.exit();`;
      const threads = (more: object) =>
        Number(Bun.spawnSync(["bun", "-e", script], { env: { ...env, ...more } }).stdout.toString());
      const cores = availableParallelism();
      if (cores > 1 && cores <= 4) expect(threads({})).toBe(2 * cores);
      expect(threads({ LP_NUM_THREADS: "3" })).toBe(3);
    },
  );
  test("that is Dawn's null one is refused, with what to install", () => {
    const adapter = (info: object) => ({ info }) as unknown as GPUAdapter;
    const provider = { name: "bun-webgpu" as const };
    expect(() => refuseNull(adapter({ device: "null-backend" }), provider)).toThrow(
      /null adapter, which computes nothing. Install a Vulkan driver .*sh setup\.sh/,
    );
    expect(() => refuseNull(adapter({ backendType: 1 }), provider)).toThrow("null adapter");
    refuseNull(adapter({ device: "llvmpipe", backendType: 6 }), provider);
  });
  test("is software by its name, not by its driver's vendor", () => {
    const software = (info: object) => describeAdapter({ info } as unknown as GPUAdapter).software;
    const mesa = { vendor: "mesa", architecture: "software" };
    expect(software({ ...mesa, device: "llvmpipe-llvm-15.0.6-256-bits", description: "llvmpipe: Mesa 25.0.7" })).toBe(
      true,
    );
    expect(software({ ...mesa, device: "apple-m1-g13g-a0-", description: "Honeykrisp: Mesa 26.1.6" })).toBe(false);
    expect(software({ vendor: "google", architecture: "swiftshader", device: "", description: "" })).toBe(true);
    expect(software({ vendor: "microsoft", architecture: "warp", device: "", description: "" })).toBe(true);
    expect(software({ vendor: "nvidia", architecture: "ampere", device: "", description: "" })).toBe(false);
  });
  test("that computes wrongly fails the self-test", async () => {
    const wrong = await openGpu();
    wrong.launch = () => {}; // a driver that does nothing
    await expect(selfTest(wrong)).rejects.toThrow(
      /the driver computes wrongly \(element \d+ of the self-test is .*, expected/,
    );
  });
  test("that computes wrongly in half precision does without it, and says so", async () => {
    const said: string[] = [];
    const own = await openGpu();
    if (!own.target.f16) return console.log("skip: no f16 here");
    own.target = { ...own.target, class: "matrix", matrix: { m: 16, n: 16, k: 16 } };
    await halfTest(own, (line) => said.push(line));
    expect([said, own.target.f16, own.target.class]).toEqual([[], true, "matrix"]);
    const { launch } = own;
    own.launch = () => {};
    await halfTest(own, (line) => said.push(line));
    expect(said[0]).toMatch(/computes wrongly in half precision \(element 0 of the test is NaN, expected -?\d/);
    expect([own.target.f16, own.target.matrix, own.target.class]).toEqual([false, undefined, "portable"]);

    own.launch = ((spec: Kernel, views: Record<string, View>) =>
      launch.call(own, { ...spec, wgsl: () => "what?" }, views, {})) as typeof launch;
    own.target = { ...own.target, f16: true };
    await halfTest(own, (line) => said.push(line));
    expect([said.length, own.target.f16]).toEqual([2, false]);
    expect(said[1]).toContain("halfTest");
    own.close();
  });
  test("whose matrix units do not compute does without them, and says so", async () => {
    const said: string[] = [];
    const own = await openGpu();
    expect([own.target.matrix, own.target.class]).toEqual([gpu.target.matrix, gpu.target.class]); // passed where there are some
    own.target = { ...own.target, class: "matrix", matrix: { m: 16, n: 16, k: 16 }, subgroupSize: 32 };
    own.launch = () => {};
    await unitTest(own, (line) => said.push(line));
    expect(said[0]).toMatch(
      /matrix units compute wrongly \(element 0 of the test is NaN, expected -?\d+\); they are left out/,
    );
    expect([own.target.matrix, own.target.class]).toEqual([undefined, "portable"]);
    await unitTest(own, (line) => said.push(line));
    expect(said.length).toBe(1);
    own.close();
  });
  test("of an unknown provider is refused by name", async () => {
    await expect(loadProvider("vulkan")).rejects.toThrow(
      'MICROMIND_GPU: "vulkan" is no provider, expected one of bun-webgpu, dawn, navigator',
    );
  });
});

describe("matrix units", () => {
  const config = (M: number, N: number, K: number, componentType = "f16", resultComponentType = "f32") => ({
    ...{ componentType, resultComponentType, M, N, K },
  });
  const adapterOf = (device: string, configs?: object[], features: string[] = []) =>
    ({
      info: { device, subgroupMatrixConfigs: configs },
      features: new Set(configs ? [matrixFeature, ...features] : features),
    }) as unknown as GPUAdapter;

  test("are used by subgroups of one size, or on AMD's and NVIDIA's cards of the one that a module asks for", () => {
    const features = ["subgroups", "shader-f16", matrixFeature];
    const of = (vendor: string, subgroupMinSize: number, subgroupMaxSize: number, ...more: string[]) => {
      const info = { vendor, subgroupMinSize, subgroupMaxSize, subgroupMatrixConfigs: [config(16, 16, 16)] };
      const adapter = { info, features: new Set([...features, ...more]), limits: {} } as unknown as GPUAdapter;
      const target = targetOf(adapter, adapter as unknown as GPUDevice);
      const narrow = target.narrowSubgroup ? [target.narrowSubgroup] : [];
      return [target.class, target.subgroupSize, target.subgroupControl ?? false, ...narrow];
    };
    expect(of("nvidia", 32, 32)).toEqual(["matrix", 32, false]);
    expect(of("nvidia", 32, 32, subgroupControlFeature)).toEqual(["matrix", 32, false]);
    expect(of("nvidia", 32, 128, subgroupControlFeature)).toEqual(["matrix", 32, true]); // as Direct3D tells it
    expect(of("amd", 32, 64)).toEqual(["portable", 0, false]);
    expect(of("amd", 32, 64, subgroupControlFeature)).toEqual(["matrix", 32, true]);
    expect(of("amd", 64, 64, subgroupControlFeature)).toEqual(["matrix", 64, false]);
    expect(of("intel", 8, 32, subgroupControlFeature)).toEqual(["portable", 32, true, 8]);
    expect(of("", 4, 16, subgroupControlFeature)).toEqual(["portable", 16, true]);
  });

  test("are those that multiply f16 and add in f32, the largest first", () => {
    const all = [
      config(16, 8, 8),
      config(16, 16, 16),
      config(16, 8, 16),
      config(32, 32, 32, "f16", "f16"),
      config(16, 16, 32, "i8", "i32"),
    ];
    expect(matrixOf(adapterOf("some GPU", all))).toEqual({ m: 16, n: 16, k: 16 });
    expect(matrixOf(adapterOf("some GPU", all.slice(3)))).toBeUndefined();
    expect(matrixOf(adapterOf("some GPU"))).toBeUndefined();
  });

  const half = ["shader-f16"];
  const other = adapterOf("another GPU", [config(8, 8, 8)]);
  const stranger = { ...other, info: { ...other.info, vendor: "another" } } as unknown as GPUAdapter;
  const both = (adapter: GPUAdapter) => [adapter, adapter] as const;
  test("want sizes of subgroups that the adapter takes, which trying tells", async () => {
    const trying = async (...taken: number[]) => {
      let error: object | null = null;
      const createComputePipeline = ({ compute }: { compute: { module: { code: string } } }) => {
        const size = Number(/@subgroup_size\((\d+)\)/.exec(compute.module.code)?.[1]);
        if (!taken.includes(size)) error = { message: "not in the allowed range" };
      };
      const scopes: (object | null)[] = [];
      const device = {
        pushErrorScope: () => {
          error = null;
          scopes.push(null);
        },
        popErrorScope: async () => (scopes.pop() === null && scopes.length === deep ? error : null),
        createShaderModule: ({ code }: { code: string }) => ({ code }),
        createComputePipeline,
      } as unknown as GPUDevice;
      const wanted = { subgroupControl: true, subgroupSize: 32, narrowSubgroup: 8, matrix: { m: 16, n: 16, k: 16 } };
      const target = { ...gpu.target, ...wanted, class: "matrix" as const };
      const { class: kind, subgroupSize, narrowSubgroup } = await trySubgroups({ device, target });
      return [kind, subgroupSize, narrowSubgroup];
    };
    let deep = 0; // errors are the outer scope's (validation), then the inner one's (internal)
    expect(await trying(8, 16, 32)).toEqual(["matrix", 32, 8]);
    expect(await trying(16, 32)).toEqual(["matrix", 32, 16]);
    expect(await trying(8, 16)).toEqual(["portable", 0, 8]);
    expect(await trying()).toEqual(["portable", 0, undefined]);
    deep = 1;
    expect(await trying(16)).toEqual(["portable", 0, 16]);
  });

  test("and kernels of many registers are asked of the driver in the sizes that suit them", () => {
    const shape = { few: 0 };
    const of = (wgsl: string, manyRegisters: boolean, more: object) =>
      moduleSource(
        { ...scaled, manyRegisters, wgsl: () => wgsl } as unknown as Kernel,
        shape,
        {},
        { ...gpu.target, subgroupSize: 32, ...more },
      ).match(/enable subgroup_size_control;|@subgroup_size\(\d+\)/g) as string[] | null;
    const asked = (size: number) => ["enable subgroup_size_control;", `@subgroup_size(${size})`];
    const plain = "@compute @workgroup_size(64) fn main() {}";
    const joined = "@compute @workgroup_size(64) fn main() { _ = subgroupAdd(1.0); }";
    const intel = { subgroupControl: true, narrowSubgroup: 8 };
    expect(of(plain, false, intel)).toBeNull();
    expect(of(plain, true, {})).toBeNull();
    expect(of(plain, true, { subgroupControl: true })).toBeNull();
    expect(of(plain, true, intel)).toEqual(asked(8));
    expect(of(plain.replace("64", "4"), true, intel)).toBeNull();
    expect(of(joined, true, intel)).toEqual(asked(32));
    expect(of(joined, false, {})).toBeNull();
  });

  for (const [what, first, second, chosen] of [
    ["of another maker's card leave bun-webgpu", adapterOf("some GPU"), stranger, "bun-webgpu"],
    ["of a CPU leave bun-webgpu", adapterOf("some GPU"), adapterOf("llvmpipe", [config(8, 8, 8)]), "bun-webgpu"],
    ["of a GPU bring Dawn for N-API", adapterOf("some GPU"), adapterOf("some GPU", [config(8, 8, 8)]), "dawn"],
    ["that are absent leave bun-webgpu", adapterOf("some GPU"), adapterOf("some GPU"), "bun-webgpu"],
    [
      "or f16 that bun-webgpu lacks bring Dawn too",
      adapterOf("some GPU"),
      adapterOf("some GPU", undefined, half),
      "dawn",
    ],
    ["or f16 that both have leave bun-webgpu", ...both(adapterOf("some GPU", undefined, half)), "bun-webgpu"],
    ["behind a package that is not installed leave bun-webgpu", adapterOf("some GPU"), undefined, "bun-webgpu"],
    ["are not looked for on a CPU", adapterOf("llvmpipe"), adapterOf("some GPU", [config(8, 8, 8)]), "bun-webgpu"],
  ] as const)
    test.skipIf(!!process.env.MICROMIND_GPU)(`${what}`, async () => {
      const load = async (name = "bun-webgpu") => {
        const adapter = name === "dawn" ? second : first;
        if (!adapter) throw new Error("does not load");
        return { name, requestAdapter: async () => adapter } as unknown as Provider;
      };
      expect((await choose({}, load)).provider.name).toBe(chosen);
    });
});

describe("launches", () => {
  test("read back what they computed, any size, with their own uniforms", async () => {
    const [x, y, z] = [view(4 * 1000), view(4 * 1000), view(4 * 1000)];
    gpu.write(
      x,
      Float32Array.from({ length: 1000 }, (_, i) => i),
    );
    gpu.launch(scaled, { x, y }, {}, { n: 1000, by: 2 });
    gpu.launch(scaled, { x: y, y: z }, {}, { n: 1000, by: -1 });
    expect([...new Float32Array(await gpu.read(z))]).toEqual(Array.from({ length: 1000 }, (_, i) => -2 * i));
    for (const v of [x, y, z]) gpu.release(v.block);
  });
  test("run in order with writes between them", async () => {
    const [x, y, z] = [view(256), view(256), view(256)];
    gpu.write(x, new Float32Array(64).fill(1));
    gpu.launch(scaled, { x, y }, {}, { n: 64, by: 3 });
    gpu.write(x, new Float32Array(64).fill(10));
    gpu.launch(scaled, { x, y: z }, {}, { n: 64, by: 3 });
    expect(new Float32Array(await gpu.read(y))[5]).toBe(3);
    expect(new Float32Array(await gpu.read(z))[5]).toBe(30);
  });
  test("beyond one recording and one uniform buffer keep their order", async () => {
    const [x, y] = [view(256), view(256)];
    gpu.write(x, new Float32Array(64).fill(1));
    for (let i = 0; i < 2500; i++)
      gpu.launch(scaled, i % 2 ? { x: y, y: x } : { x, y }, {}, { n: 64, by: i < 20 ? 2 : 1 });
    expect(new Float32Array(await gpu.read(x))[0]).toBe(2 ** 20);
  });
  test("reuse pipelines and bind groups", async () => {
    const [x, y] = [view(256), view(256)];
    gpu.launch(scaled, { x, y }, {}, { n: 64, by: 1 });
    const before = { ...gpu.stats };
    for (let i = 0; i < 10; i++) gpu.launch(scaled, { x, y }, {}, { n: 64, by: i });
    expect(gpu.stats.pipelines).toBe(before.pipelines);
    expect(gpu.stats.bindGroupsCreated).toBe(before.bindGroupsCreated);
    await gpu.finish();
  });
  test("of more workgroups than one dimension holds are spread over two", async () => {
    const n = 65535 * 64 + 100;
    const [x, y] = [view(4 * n), view(4 * n)];
    gpu.launch(scaled, { x, y }, {}, { n, by: 1 });
    await gpu.finish();
    expect(linearWorkgroups(65536)).toEqual([32768, 2]);
    for (const v of [x, y]) gpu.release(v.block);
    gpu.trim();
  });
  test("with a binding missing, a uniform missing, or one buffer read and written are refused by name", () => {
    const [x, y] = [view(256), view(256)];
    expect(() => gpu.launch(scaled, { x }, {}, { n: 1, by: 1 })).toThrow("scaled: nothing is bound to y");
    expect(() => gpu.launch(scaled, { x, y }, {}, { n: 1 })).toThrow("scaled: uniform by is missing");
    expect(() => gpu.launch(scaled, { x, y: x }, {}, { n: 1, by: 1 })).toThrow(
      "scaled: x and y share a buffer that is written",
    );
  });
  test("of WGSL that does not compile name kernel, shape and line", async () => {
    const own = await openGpu();
    const broken = kernel({
      name: "broken",
      bindings: { y: "write" },
      workgroups: () => [1],
      cost: () => ({ flops: 0, bytes: 0 }),
      wgsl: ({ n }: { n: number }) => `@compute @workgroup_size(1) fn main() { y[${n}u] = nonsense; }`,
    });
    own.launch(broken, { y: view(256, own) }, { n: 3 });
    await expect(own.finish()).rejects.toThrow(/broken \(n 3\) on .*unresolved value 'nonsense'/);
    own.close();
  });
});

describe("memory", () => {
  test("goes back to the pool and is handed out again", () => {
    const a = gpu.alloc(1000);
    gpu.release(a);
    const { created } = gpu.pool.stats;
    const b = gpu.alloc(1000);
    expect(b).toBe(a);
    expect(gpu.pool.stats.created).toBe(created);
    gpu.release(b);
    gpu.release(b); // a second release is none
    expect(gpu.alloc(1000)).toBe(a);
  });
  test("comes in classes that waste an eighth at most", () => {
    for (const bytes of [1, 256, 257, 5000, 123_456, 50_000_001]) {
      expect(sizeClass(bytes)).toBeGreaterThanOrEqual(bytes);
      expect(sizeClass(bytes) % 256).toBe(0);
      if (bytes > 2048) expect(sizeClass(bytes)).toBeLessThanOrEqual(bytes * 1.125 + 256);
    }
  });
  test("that the adapter does not have is an error that names the largest tensors", () => {
    const big = gpu.alloc(1 << 20, { name: "the big one", shape: [512, 512], dtype: "f32" });
    expect(() => gpu.alloc(2 ** 50, { name: "matmul", shape: [9, 9], dtype: "f32" })).toThrow(
      /out of GPU memory: .* for matmul \[9, 9\] f32 .*Use a smaller batch or sequence[\s\S]*the big one \[512, 512\] f32/,
    );
    gpu.release(big);
  });
  test("in ever more buffers is an error that says how to free them, long before the driver crashes", () => {
    const device = { createBuffer: () => ({}) } as unknown as GPUDevice;
    const pool = new BufferPool(
      device,
      2 ** 30,
      () => {},
      () => {},
    );
    const forgetful = () => {
      for (let i = 0; i < 100_000; i++) pool.alloc(4);
    };
    expect(forgetful).toThrow(/in 16384 tensors\. What a loop makes is freed by scope/);
    expect(pool.stats.liveBuffers).toBe(16384);
  });
  test("is counted: live, free and peak", () => {
    gpu.pool.resetPeak();
    const before = gpu.pool.stats;
    const block = gpu.alloc(1 << 20);
    expect(gpu.pool.stats.liveBytes).toBe(before.liveBytes + (1 << 20));
    gpu.release(block);
    expect(gpu.pool.stats.liveBytes).toBe(before.liveBytes);
    expect(gpu.pool.stats.peakBytes).toBe(before.liveBytes + (1 << 20));
  });
});

describe("reads and writes", () => {
  test("of odd byte lengths keep every byte", async () => {
    const v = { ...view(256), bytes: 7 };
    gpu.write(v, Uint8Array.of(1, 2, 3, 4, 5, 6, 7));
    expect([...new Uint8Array(await gpu.read(v))]).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });
  test("of more than one staging buffer are whole", async () => {
    const data = Uint32Array.from({ length: 5_000_000 }, (_, i) => i);
    const v = view(data.byteLength);
    gpu.write(v, data);
    const back = new Uint32Array(await gpu.read(v));
    expect(back.every((x, i) => x === i)).toBe(true);
    gpu.release(v.block);
  });
  test("after the device is lost say so", async () => {
    const own = await openGpu();
    const v = view(256, own);
    own.device.destroy();
    await expect(own.read(v)).rejects.toThrow(/lost|destroyed/i);
  });
});

test.skipIf(!gpu.profiler.supported)("the profiler times every launch", async () => {
  const [x, y] = [view(4096), view(4096)];
  gpu.profiler.active = true;
  gpu.launch(scaled, { x, y }, {}, { n: 1024, by: 1 });
  gpu.launch(scaled, { x, y }, {}, { n: 512, by: 1 });
  gpu.flush();
  const times = await gpu.profiler.take();
  gpu.profiler.active = false;
  expect(times.map((t) => [t.kernel, t.flops])).toEqual([
    ["scaled", 1024],
    ["scaled", 512],
  ]);
  expect(times.every((t) => t.ms >= 0)).toBe(true);
});
