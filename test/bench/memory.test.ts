import { afterAll, expect, test } from "bun:test";
import { dryGpu } from "../../bench/dryDevice.ts";
import { planMemory, printPlan } from "../../bench/memory.ts";
import { openGpu } from "../../framework/device/open.ts";
import { init, Tensor } from "../../framework/index.ts";
import { useGpu } from "../../framework/tensor/engine.ts";

const shared = await init();
const real = await openGpu(); // a device on which nothing else lives
afterAll(() => {
  useGpu(shared);
  real.close();
});
const { adapter, device } = real;
const like = {
  info: adapter.info,
  features: device.features,
  limits: device.limits as unknown as Record<string, number>,
};
const options = { preset: "tiny", batch: 2, length: 48, checkpointing: false };

for (const checkpointing of [false, true])
  test(`a dry run holds what a real one holds${checkpointing ? ", layers recomputed" : ""}`, async () => {
    useGpu(real);
    real.trim();
    real.pool.resetPeak();
    const measured = await planMemory(real, { ...options, checkpointing });
    const dry = await planMemory(dryGpu(like), { ...options, checkpointing });
    expect(dry).toEqual(measured);
    expect(dry.created).toBe(0);
    const { weights, gradients, moments, activations } = dry.kinds;
    expect(weights + gradients + moments + activations).toBe(dry.peakBytes);
    expect([gradients, moments]).toEqual([weights, 2 * weights]);
  });

test("recomputing layers takes less, and micromind-26m on 32 × 512 tokens takes 8 GB at most, 5 in f16", async () => {
  const large = { preset: "micromind-26m", batch: 32, length: 512 };
  const plain = await planMemory(dryGpu(), { ...large, checkpointing: false });
  const recomputed = await planMemory(dryGpu(), { ...large, checkpointing: true });
  expect(plain.heldBytes).toBeLessThan(8e9);
  expect(recomputed.heldBytes).toBeLessThan(plain.heldBytes / 2);
  const half = await planMemory(dryGpu(), { ...large, precision: "f16", checkpointing: false });
  expect(half.heldBytes).toBeLessThan(5e9);
  const lines: string[] = [];
  printPlan({ ...large, checkpointing: true }, recomputed, (line) => lines.push(line));
  expect(lines[0]).toContain("micromind-26m, batch 32 × 512, f32, layers recomputed");
});

test("a dry run refuses reads", async () => {
  dryGpu();
  using x = Tensor.from([1, 2]);
  await expect(x.data()).rejects.toThrow("a dry run computes nothing, so nothing can be read");
});
