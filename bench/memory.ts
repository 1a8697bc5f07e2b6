import type { Gpu } from "../framework/device/gpu.ts";
import { type Block, mb, type Owner } from "../framework/device/pool.ts";
import { type StepOptions, trainer } from "./step.ts";
import { printTable, type Row } from "./table.ts";

export interface MemoryPlan {
  /** Bytes by kind when most are live. */
  kinds: Record<string, number>;
  /** The most bytes live at a time, and the most that the pool held: live, and free for reuse. */
  peakBytes: number;
  heldBytes: number;
  /** Buffers created by the last step; 0 when memory is steady. */
  created: number;
  /** The largest tensors at the peak, those alike together. */
  largest: Row[];
}

const KINDS: Record<string, string> = {
  parameters: "weights",
  gradients: "gradients",
  "moment m": "moments",
  "moment v": "moments",
  halves: "weights",
};
const STEPS = 3; // the first sizes the pool, the others show that it stays so
const LARGEST = 10;

/** Trains on this engine for a few steps, real or dry, and says what its memory holds at the peak. */
export async function planMemory(gpu: Gpu, options: StepOptions): Promise<MemoryPlan> {
  const { pool } = gpu;
  const { peak, stop } = watch(gpu);
  const { model, optimizer, step } = trainer(options);
  let created = 0;
  for (let i = 0; i < STEPS; i++) {
    created = pool.stats.created;
    step().dispose();
    await gpu.finish();
  }
  created = pool.stats.created - created;
  const { peakBytes, liveBytes, freeBytes } = pool.stats;
  stop();
  optimizer.dispose();
  model.dispose();
  const kinds: Record<string, number> = { weights: 0, gradients: 0, moments: 0, activations: 0 };
  for (const [{ bytes }, owner] of peak()) kinds[KINDS[owner?.name ?? ""] ?? "activations"] += bytes;
  return { kinds, peakBytes, heldBytes: liveBytes + freeBytes, created, largest: largest(peak()) };
}

/** Notes each block's owner, and what was live when the most bytes were. */
function watch({ pool }: Gpu) {
  const live = new Map<Block, Owner | undefined>();
  let peak = new Map(live);
  let most = 0;
  const { alloc, release } = pool;
  pool.alloc = (bytes, owner) => {
    const block = alloc.call(pool, bytes, owner);
    live.set(block, owner);
    const { liveBytes } = pool.stats;
    if (liveBytes > most) {
      most = liveBytes;
      peak = new Map(live);
    }
    return block;
  };
  pool.release = (block) => {
    live.delete(block);
    release.call(pool, block);
  };
  const stop = () => Object.assign(pool, { alloc, release });
  return { peak: () => peak, stop };
}

function largest(peak: ReadonlyMap<Block, Owner | undefined>): Row[] {
  const groups = Map.groupBy(peak, ([, owner]) =>
    owner ? `${owner.name} [${owner.shape.join(", ")}] ${owner.dtype}` : "engine",
  );
  const rows = [...groups].map(([name, blocks]) => ({
    name,
    count: blocks.length,
    MB: blocks.reduce((sum, [{ bytes }]) => sum + bytes, 0) / 2 ** 20,
  }));
  return rows.sort((a, b) => b.MB - a.MB).slice(0, LARGEST);
}

/** The plan in lines. */
export function printPlan(
  { preset, batch, length, checkpointing, precision = "f32" }: StepOptions,
  plan: MemoryPlan,
  say: (line: string) => void,
): void {
  const how = checkpointing ? ", layers recomputed" : "";
  say(`${preset}, batch ${batch} × ${length}, ${precision}${how}: memory of a training step\n`);
  printTable(
    Object.entries(plan.kinds).map(([name, bytes]) => ({ name, MB: bytes / 2 ** 20 })),
    say,
  );
  say(
    `peak ${mb(plan.peakBytes)} live; the pool holds ${mb(plan.heldBytes)}; a steady step creates ${plan.created} buffers\n`,
  );
  say("The largest at the peak:\n");
  printTable(plan.largest, say);
}
