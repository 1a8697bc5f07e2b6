import { afterAll, expect, spyOn, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { View } from "../../framework/device/bindings.ts";
import { collect, type Launch, releaseLaunches } from "../../framework/device/collect.ts";
import { kernel, type Shape, type Tuning } from "../../framework/device/kernel.ts";
import { openGpu } from "../../framework/device/open.ts";
import { Trial } from "../../framework/device/trial.ts";
import { tune } from "../../framework/device/tune.ts";
import { Winners } from "../../framework/device/winners.ts";

const folder = mkdtempSync(join(tmpdir(), "micromind-tune-"));
const gpu = await openGpu();
afterAll(() => {
  gpu.close();
  rmSync(folder, { recursive: true });
});

let files = 0;
/** An empty store with a file of its own. */
const store = () => new Winners("an adapter", join(folder, `${files++}.json`));

/** y = x + 1: rightly, and much faster than rightly but wrongly, or not at all. */
const RIGHT = 0;
const SLOW = 1;
const WRONG = 2;
const BROKEN = 3;
const spec = (modes: readonly number[], plus = "1.0") =>
  kernel<Shape, { mode: number }>({
    name: "plusOne",
    bindings: { x: "read", y: "write" },
    uniforms: { n: "u32", by: "f32" },
    sizes: ["n"],
    tuning: { mode: modes },
    workgroups: (_, __, { n }) => [Math.ceil(n / 64)],
    cost: (_, { n }) => ({ flops: n, bytes: 8 * n }),
    wgsl: (_, { mode }) => `
      @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
        let i = id.x;
        if (i >= u.n) { return; }
        var v = x[i];
        ${mode === SLOW ? "for (var k = 0u; k < u.n * 4u; k++) { v = select(v, v + 1.0, x[k % u.n] > 2.0); }" : ""}
        ${mode === BROKEN ? "v = undefined;" : ""}
        y[i] = v + ${mode === WRONG ? "1.1" : plus};
      }`,
  });

const plusOne = spec([SLOW, WRONG, BROKEN, RIGHT]);
const N = 4096;
const launchOf = (k: ReturnType<typeof spec>, n = N): Launch => ({
  kernel: k as unknown as Launch["kernel"],
  shape: {},
  uniforms: { n, by: 1 },
  buffers: { x: 4 * n, y: 4 * n },
  count: 1,
});
const view = (bytes: number): View => ({ block: gpu.alloc(bytes), offset: 0, bytes });
const set = (winners: Winners, n: number, mode: number, k = plusOne) =>
  winners.set(k as unknown as Launch["kernel"], {}, { n }, gpu.target, { mode }, 1);
const find = (winners: Winners, n: number, k = plusOne): Tuning | undefined =>
  winners.find(k as unknown as Launch["kernel"], {}, { n }, gpu.target)?.tuning;

test("the fastest right point wins; one that computes wrongly or does not compile never does", async () => {
  gpu.winners = store();
  const [tuned] = await tune(gpu, [launchOf(plusOne)], { budgetMs: 60_000 });
  expect(tuned.winner).toEqual({ mode: RIGHT });
  expect(tuned.standard).toEqual({ mode: SLOW });
  expect(tuned.refused.map(({ mode }) => mode).sort()).toEqual([WRONG, BROKEN]);
  expect([tuned.tried, tuned.points]).toEqual([2, 4]);
  expect(find(gpu.winners, N)).toEqual({ mode: RIGHT });
});

test.each([
  ["usually slower, and fast once", [11, 11, 9, 11, 11], undefined],
  ["usually faster", [9, 9, 13, 9, 9], RIGHT],
])("a point that is %s, side by side with the kernel's own choice", async (_, rounds, winner) => {
  const own = plusOne.pick?.({}, gpu.target)?.mode ?? SLOW;
  const times = [...[10.5, 10.5, 10.5], ...rounds];
  const time = spyOn(Trial.prototype, "time").mockImplementation(async (tuning) =>
    tuning.mode === own ? 10 : (times.shift() as number),
  );
  gpu.winners = store();
  const [tuned] = await tune(gpu, [launchOf(spec([SLOW, RIGHT]))], { budgetMs: 60_000, save: false });
  time.mockRestore();
  expect(tuned.winner).toEqual({ mode: winner ?? own });
});

test("launches run under the winner from then on, and make no pipeline", async () => {
  gpu.winners = store();
  await tune(gpu, [launchOf(plusOne)], { budgetMs: 60_000 });
  const before = gpu.stats;
  const [x, y] = [view(4 * N), view(4 * N)];
  gpu.write(x, new Float32Array(N).fill(1));
  gpu.launch(plusOne, { x, y }, {}, { n: N, by: 1 });
  expect(new Float32Array(await gpu.read(y))[N - 1]).toBe(2);
  expect(gpu.stats.pipelines).toBe(before.pipelines);
  for (const { block } of [x, y]) gpu.release(block);
});

test("no budget measures nothing, and little of it the kernel's own choice alone", async () => {
  gpu.winners = store();
  set(gpu.winners, N, RIGHT);
  expect(await tune(gpu, [launchOf(plusOne)], { budgetMs: 0 })).toEqual([]);
  // A clock that stands until the first launch is begun, then leaps: how busy the machine is makes no difference.
  let now = 0;
  let leap = 0;
  const clock = spyOn(performance, "now").mockImplementation(() => (now += leap));
  const onProgress = () => {
    leap = 100; // ms
  };
  const launches = [launchOf(plusOne), launchOf(plusOne, 64)];
  const tuned = await tune(gpu, launches, { budgetMs: 10, onProgress }).finally(() => clock.mockRestore());
  expect(tuned.map(({ tried, winner, compared }) => [tried, winner, compared])).toEqual([[1, { mode: SLOW }, false]]);
  expect(find(gpu.winners, N)).toEqual({ mode: RIGHT }); // what held before
});

test("a class of sizes takes the nearest winner's tuning, and none of a far one", () => {
  const winners = store();
  set(winners, 1 << 10, SLOW);
  set(winners, 1 << 14, RIGHT);
  expect(find(winners, 1000)).toEqual({ mode: SLOW });
  expect(find(winners, 1 << 11)).toEqual({ mode: SLOW });
  expect(find(winners, 3 << 12)).toEqual({ mode: RIGHT });
  expect(find(winners, 1 << 20)).toEqual({ mode: RIGHT });
  expect(find(winners, 1 << 21)).toBeUndefined();
  expect(winners.has(plusOne as unknown as Launch["kernel"], {}, { n: 1 << 11 }, gpu.target)).toBe(false);
});

test("winners come back from the file, and other processes' stay in it", () => {
  const [mine, other] = [store(), store()];
  const theirs = new Winners("an adapter", mine.path);
  set(mine, 1 << 10, SLOW);
  set(theirs, 1 << 14, RIGHT);
  mine.save();
  theirs.save();
  const read = new Winners("an adapter", mine.path).load();
  expect([find(read, 1 << 10), find(read, 1 << 14)]).toEqual([{ mode: SLOW }, { mode: RIGHT }]);
  expect(find(other.load(), 1 << 10)).toBeUndefined();
  expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("a damaged file, or one of another adapter, is left aside with a line", () => {
  const winners = store();
  set(winners, 1 << 10, SLOW);
  winners.save();
  const whole = readFileSync(winners.path, "utf8");
  const lines: string[] = [];
  const load = (text: string, adapter = "an adapter") => {
    writeFileSync(winners.path, text);
    return find(
      new Winners(adapter, winners.path).load((line) => lines.push(line)),
      1 << 10,
    );
  };
  expect(load(whole)).toEqual({ mode: SLOW });
  for (const text of [whole.slice(0, 60), "", "[]", "null", whole.replace('"mode": 1', '"mode": "1"')])
    expect(load(text)).toBeUndefined();
  expect(load(whole, "another adapter")).toBeUndefined();
  expect(lines.length).toBe(6);
  expect(lines[0]).toMatch(
    /\.json: is damaged; kernels pick their own tunings until `bun bench --tune` writes it anew/,
  );
  expect(lines[5]).toContain("is another adapter's");
});

test("a kernel that has changed forgets its winners", () => {
  const winners = store();
  set(winners, 1 << 10, RIGHT);
  expect(find(winners, 1 << 10)).toEqual({ mode: RIGHT });
  expect(find(winners, 1 << 10, spec([SLOW, WRONG, BROKEN, RIGHT], "2.0"))).toBeUndefined();
  expect(find(winners, 1 << 10, spec([SLOW, RIGHT]))).toBeUndefined();
});

test("collecting notes each kind of launch once and does none of the work", async () => {
  const [x, y] = [view(4 * N), view(4 * N)];
  gpu.write(x, new Float32Array(N).fill(1));
  gpu.write(y, new Float32Array(N).fill(7));
  const before = gpu.stats.dispatches;
  const launches = await collect(gpu, () => {
    for (let i = 0; i < 3; i++) gpu.launch(plusOne, { x, y }, {}, { n: N, by: i });
    gpu.launch(plusOne, { x, y }, {}, { n: 64, by: 1 });
    gpu.launch({ ...spec([RIGHT]), name: "fixed" }, { x, y }, {}, { n: N, by: 1 });
    gpu.copy(x, y);
  });
  expect(launches.map(({ uniforms: { n }, count }) => [n, count])).toEqual([
    [N, 3],
    [64, 1],
  ]);
  expect(launches[0].buffers).toEqual({ x: 4 * N, y: 4 * N });
  expect(gpu.stats.dispatches).toBe(before);
  expect(new Float32Array(await gpu.read(y))[0]).toBe(7);
  for (const { block } of [x, y]) gpu.release(block);
});

test("f16 bound two to a word is content to compare by, not integers to keep", async () => {
  const words = kernel<Shape, { mode: number }>({
    name: "words",
    bindings: { x: "read", y: "write" },
    types: () => ({ x: "halves4", y: "vec4f" }),
    tuning: { mode: [RIGHT, WRONG] },
    workgroups: () => [1],
    cost: () => ({ flops: 256, bytes: 64 * 24 }),
    wgsl: (_, { mode }) => `@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) {
      y[i] = ${mode === WRONG ? "-" : ""}vec4f(unpack2x16float(x[i].x), unpack2x16float(x[i].y)); }`,
  });
  const [x, y] = [view(512), view(1024)];
  const launches = await collect(gpu, () => gpu.launch(words, { x, y }, {}));
  expect(launches[0].buffers).toEqual({ x: 512, y: 1024 });
  gpu.winners = store();
  const [tuned] = await tune(gpu, launches, { budgetMs: 60_000, save: false });
  expect([tuned.winner, tuned.refused]).toEqual([{ mode: RIGHT }, [{ mode: WRONG }]]);
  for (const { block } of [x, y]) gpu.release(block);
});

const integers = kernel({
  name: "integers",
  bindings: { at: "write" },
  types: () => ({ at: "u32" }),
  workgroups: () => [1],
  cost: () => ({ flops: 0, bytes: 256 }),
  wgsl: () => `@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { at[i] = 63u - i; }`,
});
const lookup = kernel<Shape, { lanes: number }>({
  name: "lookup",
  bindings: { x: "read", at: "read", y: "write" },
  types: () => ({ at: "u32" }),
  tuning: { lanes: [64, 32] },
  workgroups: (_, { lanes }) => [64 / lanes],
  cost: () => ({ flops: 0, bytes: 768 }),
  wgsl: (_, { lanes }) =>
    `@compute @workgroup_size(${lanes}) fn main(@builtin(global_invocation_id) id: vec3u) { y[id.x] = x[at[id.x]]; }`,
});

test("integers that other launches need are computed and kept for the trial", async () => {
  const [x, at, y] = [view(256), view(256), view(256)];
  const live = gpu.pool.stats.liveBuffers;
  const launches = await collect(gpu, () => {
    gpu.launch(integers, { at }, {});
    gpu.launch(lookup, { x, at, y }, {});
  });
  expect(launches.map(({ kernel: { name } }) => name)).toEqual(["lookup"]);
  const kept = new Uint32Array(await gpu.read(launches[0].buffers.at as View));
  expect([kept[0], kept[63]]).toEqual([63, 0]);
  gpu.winners = store();
  expect((await tune(gpu, launches, { budgetMs: 60_000, save: false }))[0].tried).toBe(2);
  releaseLaunches(gpu, launches);
  expect(gpu.pool.stats.liveBuffers).toBe(live);
  for (const { block } of [x, at, y]) gpu.release(block);
});

test("MICROMIND_TUNE=off opens the device without winners", async () => {
  const before = process.env.MICROMIND_TUNE;
  for (const [value, has] of [
    ["off", false],
    ["on", true],
  ] as const) {
    process.env.MICROMIND_TUNE = value;
    const other = await openGpu();
    expect(other.winners !== undefined).toBe(has);
    other.close();
  }
  process.env.MICROMIND_TUNE = "0";
  await expect(openGpu()).rejects.toThrow("MICROMIND_TUNE is 0, expected on or off");
  process.env.MICROMIND_TUNE = before ?? "";
});
