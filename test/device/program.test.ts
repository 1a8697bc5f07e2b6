import { afterAll, expect, test } from "bun:test";
import type { View } from "../../framework/device/bindings.ts";
import { kernel } from "../../framework/device/kernel.ts";
import { openGpu } from "../../framework/device/open.ts";

const gpu = await openGpu();
afterAll(() => gpu.close());

const view = (): View => ({
  block: gpu.alloc(256, { name: "test", shape: [64], dtype: "f32" }),
  offset: 0,
  bytes: 256,
});
const added = kernel({
  name: "added",
  bindings: { x: "read", y: "write" },
  uniforms: { by: "f32" },
  workgroups: (_: Record<never, never>) => [1],
  cost: () => ({ flops: 64, bytes: 512 }),
  wgsl: () => "@compute @workgroup_size(64) fn main(@builtin(local_invocation_index) i: u32) { y[i] = x[i] + u.by; }",
});

/** x = (x + 1) + 10, through buffers that are freed again. */
const step = (x: View) => () => {
  const [a, b] = [view(), view()];
  gpu.launch(added, { x, y: a }, {}, { by: 1 });
  gpu.launch(added, { x: a, y: b }, {}, { by: 10 });
  gpu.release(a.block);
  const c = view(); // where a was
  gpu.launch(added, { x: b, y: c }, {}, { by: 0 });
  gpu.launch(added, { x: c, y: x }, {}, { by: 0 });
  gpu.release(b.block);
  gpu.release(c.block);
};
const first = async (x: View) => new Float32Array(await gpu.read(x))[0];
const zeroed = () => {
  const x = view();
  gpu.write(x, new Float32Array(64));
  return x;
};

test("replays its launches on the same buffers, across flushes, and creates nothing", async () => {
  const x = zeroed();
  const program = gpu.capture(step(x));
  expect(await first(x)).toBe(11);
  const before = { ...gpu.stats, ...gpu.pool.stats };
  for (let i = 0; i < 700; i++) gpu.replay(program); // more launches than a recording takes
  expect(await first(x)).toBe(701 * 11);
  const after = { ...gpu.stats, ...gpu.pool.stats };
  expect(after.dispatches - before.dispatches).toBe(700 * 4);
  for (const name of ["pipelines", "bindGroupsCreated", "created", "liveBuffers"] as const)
    expect(after[name]).toBe(before[name]);
  gpu.releaseProgram(program);
  gpu.release(x.block);
  expect(gpu.pool.stats.liveBuffers).toBe(0);
});

test("its buffers go to nobody else, and its bind groups are made again where they were freed", async () => {
  const x = zeroed();
  const program = gpu.capture(step(x));
  const others = Array.from({ length: 8 }, zeroed);
  gpu.trim();
  gpu.replay(program);
  expect(await first(x)).toBe(22);
  for (const other of others) expect(await first(other)).toBe(0);
  for (const block of [x, ...others].map((v) => v.block)) gpu.release(block);
  gpu.releaseProgram(program);
});

test("what can't be replayed is refused, and nothing is left of it", () => {
  const x = zeroed();
  const live = gpu.pool.stats.liveBuffers;
  expect(() => gpu.capture(() => gpu.write(x, new Float32Array(64)))).toThrow(
    "capture: an upload can't be replayed; make the tensor before",
  );
  expect(() => gpu.capture(() => gpu.copy(x, x))).toThrow("capture: a copy between buffers can't be replayed");
  expect(() => gpu.capture(() => gpu.capture(() => {}))).toThrow("capture: a capture inside another");
  let kept = x;
  expect(() =>
    gpu.capture(() => {
      gpu.release(view().block);
      kept = view();
    }),
  ).toThrow("capture: test [64] f32 outlives the work that made it");
  gpu.release(kept.block);
  expect(gpu.pool.stats.liveBuffers).toBe(live);
  gpu.release(x.block);
});

/** Runs `work` with so few bind groups kept that their cache overflows again and again. */
async function withFewGroups(most: number, work: () => Promise<void>): Promise<void> {
  const { bindings } = gpu as unknown as { bindings: { most: number } };
  const usual = bindings.most;
  bindings.most = most;
  try {
    await work();
  } finally {
    bindings.most = usual;
  }
}

test("launches keep their uniforms where the bind groups' cache overflows among them", async () => {
  const x = zeroed();
  await withFewGroups(8, async () => {
    const results = Array.from({ length: 60 }, view);
    for (const [i, y] of results.entries()) gpu.launch(added, { x, y }, {}, { by: i });
    for (const [i, y] of results.entries()) expect(await first(y)).toBe(i);
    for (const { block } of results) gpu.release(block);
  });
  gpu.release(x.block);
});

test.each([5, 6, 7, 9, 12])("a program is captured and replayed with %p bind groups at most", async (most) => {
  const x = zeroed();
  const others = Array.from({ length: 20 }, view);
  await withFewGroups(most, async () => {
    const program = gpu.capture(step(x));
    expect(await first(x)).toBe(11);
    for (let i = 2; i < 30; i++) {
      for (const y of others.slice(0, i % 7)) gpu.launch(added, { x: others[19], y }, {}, { by: 3 });
      gpu.replay(program);
      expect(await first(x)).toBe(11 * i);
    }
    gpu.releaseProgram(program);
  });
  for (const { block } of [x, ...others]) gpu.release(block);
});
