/** Assembles batches off the main thread. See `ahead.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import type { Assembled, Task } from "./ahead.ts";
import { type Batch, buffersOf, openBatches } from "./batches.ts";
import { openShards } from "./shards.ts";

const { folder, options, from, ahead } = workerData as Task;

try {
  const shards = openShards(folder);
  const batches = openBatches(shards, options);
  let n = from;
  const assemble = (into?: Batch) => {
    const batch = batches.at(n++, into);
    parentPort?.postMessage({ batch } satisfies Assembled, buffersOf(batch));
  };
  parentPort?.on("message", (used: Batch) => guarded(() => assemble(used)));
  for (let i = 0; i < ahead; i++) assemble();
} catch (error) {
  fail(error);
}

function guarded(work: () => void): void {
  try {
    work();
  } catch (error) {
    fail(error);
  }
}

/** What is wrong is thrown where the batch is awaited. */
function fail(error: unknown): void {
  const { name, message, stack, code } = error as Error & { code?: string };
  parentPort?.postMessage({ error: { name, message, stack, code } } satisfies Assembled);
}
