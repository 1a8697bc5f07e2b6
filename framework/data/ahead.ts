/** Batches assembled ahead of the device, on a thread of their own. */
import { Worker } from "node:worker_threads";
import { type Batch, type BatchOptions, batchesFrom, buffersOf, openBatches } from "./batches.ts";
import { DataError } from "./files.ts";
import type { Shards } from "./shards.ts";

/** What the thread is started with. */
export interface Task {
  folder: string;
  options: BatchOptions;
  from: number;
  /** Batches that exist at a time: handed out, waiting, or being filled. */
  ahead: number;
}

/** What the thread sends: a batch, or why there is none. */
export type Assembled = { batch: Batch } | { error: { name: string; message: string; stack?: string; code?: string } };

export interface StepBatchesOptions {
  /** Steps already done (default 0). */
  done?: number;
  /** Batches of a step (default 1). */
  accumulate?: number;
  /** Assembles on a thread of their own (default), or on this one. */
  worker?: boolean;
}

/**
 * What each step trains on, without end: so many batches, the same as `openBatches(shards, options).at(n)`. A thread assembles the next
 * step's while the device works; the arrays of a step go back to it when the next step is asked for.
 * @throws DataError as {@link openBatches} does, and where shards are damaged
 */
export async function* stepBatches(
  shards: Shards,
  options: BatchOptions,
  { done = 0, accumulate = 1, worker = true }: StepBatchesOptions = {},
): AsyncGenerator<Batch[]> {
  const from = done * accumulate;
  const task = { folder: shards.folder, options, from, ahead: 2 * accumulate + 1 };
  const thread = worker ? startThread(task) : undefined;
  const here = thread ? undefined : batchesFrom(openBatches(shards, options), from);
  try {
    for (;;) {
      const step: Batch[] = [];
      while (step.length < accumulate) step.push(thread ? await thread.next() : (await here!.next()).value);
      yield step;
      for (const batch of step) thread?.giveBack(batch);
    }
  } finally {
    await thread?.close();
  }
}

/** Undefined in a runtime that has no threads. */
function startThread(task: Task): Thread | undefined {
  try {
    return new Thread(task);
  } catch {
    return undefined;
  }
}

class Thread {
  private readonly worker: Worker;
  private readonly ready: Batch[] = [];
  private failure: Error | undefined;
  private wake = () => {};

  constructor(task: Task) {
    this.worker = new Worker(new URL("./batchWorker.ts", import.meta.url), { workerData: task });
    this.worker.unref(); // keeps the process alive only while somebody waits
    this.worker.on("message", (message: Assembled) => {
      if ("batch" in message) this.ready.push(message.batch);
      else this.failure ??= revive(message.error);
      this.wake();
    });
    this.worker.on("error", (error: Error) => this.fail(error));
    this.worker.on("exit", (code) => this.fail(new Error(`the thread that assembles batches ended (exit ${code})`)));
  }

  async next(): Promise<Batch> {
    this.worker.ref();
    while (this.ready.length === 0 && !this.failure)
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    this.worker.unref();
    const batch = this.ready.shift();
    if (!batch) throw this.failure;
    return batch;
  }

  /** Lets the next batch be assembled, into these arrays. */
  giveBack(batch: Batch): void {
    this.worker.postMessage(batch, buffersOf(batch));
  }

  async close(): Promise<void> {
    await this.worker.terminate();
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.wake();
  }
}

/** An error of the thread as what it was there. */
function revive({
  name,
  message,
  stack,
  code,
}: {
  name: string;
  message: string;
  stack?: string;
  code?: string;
}): Error {
  const error = name === "DataError" ? new DataError(message) : Object.assign(new Error(message), { name });
  if (stack) error.stack = stack;
  return code === undefined ? error : Object.assign(error, { code });
}
