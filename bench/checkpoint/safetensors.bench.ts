/** How fast a checkpoint of 64 MB is written, synced and read back, and its numbers converted, on one core. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromFloat32, type HostTensor, toBfloat16, toFloat16, toFloat32 } from "../../framework/checkpoint/host.ts";
import { openSafetensors, writeSafetensors } from "../../framework/checkpoint/safetensors.ts";

export interface Row {
  name: string;
  ms: number;
  gbPerSecond: number;
}

const count = 16;
const elements = 1 << 20;
const bytes = count * elements * 4;

/** The fastest of a few runs; GB/s of the f32 side. */
async function measure(name: string, run: () => unknown): Promise<Row> {
  let ms = Infinity;
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    await run();
    ms = Math.min(ms, performance.now() - start);
  }
  return { name, ms, gbPerSecond: bytes / ms / 1e6 };
}

export default async function bench(): Promise<Row[]> {
  const folder = mkdtempSync(join(tmpdir(), "micromind-bench-"));
  try {
    const path = join(folder, "model.safetensors");
    const values = Float32Array.from({ length: elements }, (_, i) => Math.sin(i));
    const names = Array.from({ length: count }, (_, i) => `layer.${i}.weight`);
    const tensors = new Map<string, HostTensor>(names.map((name) => [name, fromFloat32(values, [1024, 1024])]));
    const all = Float32Array.from({ length: count * elements }, (_, i) => values[i % elements]!);
    const [half, brain] = [toFloat16(all), toBfloat16(all)];
    return [
      await measure("write safetensors, 64 MB, synced", () => writeSafetensors(path, tensors)),
      await measure("read safetensors, 64 MB", () => {
        const checkpoint = openSafetensors(path);
        for (const name of checkpoint.names()) checkpoint.get(name);
      }),
      await measure("f32 to f16", () => toFloat16(all)),
      await measure("f16 to f32", () => toFloat32({ dtype: "F16", data: half })),
      await measure("f32 to bf16", () => toBfloat16(all)),
      await measure("bf16 to f32", () => toFloat32({ dtype: "BF16", data: brain })),
    ];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

if (import.meta.main) console.table(await bench());
