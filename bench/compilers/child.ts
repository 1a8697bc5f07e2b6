/**
 * Makes all pipelines of training steps and of generation on a device that computes nothing: `bun bench/compilers/child.ts preset precision …`.
 * Before each one a line "@pipeline " and its label goes to stderr, where the driver's words follow. To stdout: the device, and what a step
 * takes to record and submit, which nothing disturbs here.
 */
import { writeSync } from "node:fs";
import { openUntried, summary } from "../../framework/device/open.ts";
import type { optim } from "../../framework/index.ts";
import { useGpu } from "../../framework/tensor/engine.ts";
import { trainer } from "../step.ts";

const STREAMS = [1, 8, 64];
const STEPS = 100;

const gpu = await openUntried({ provider: "dawn" }).catch((error) => {
  console.error(error instanceof Error ? error.message : error);
  process.exit(3); // the driver does not take the card
});
useGpu(gpu);
console.log(summary(gpu));
const create = gpu.device.createComputePipeline.bind(gpu.device);
gpu.device.createComputePipeline = (descriptor) => {
  writeSync(2, `@pipeline ${descriptor.label}\n`);
  return create(descriptor);
};
const [preset, ...precisions] = process.argv.slice(2);
for (const precision of precisions as optim.Precision[]) {
  if (precision === "f16" && !gpu.target.f16) continue;
  const { model, step } = trainer({ preset, batch: 8, length: 512, precision });
  const times = Array.from({ length: STEPS }, () => {
    const start = performance.now();
    const loss = step();
    gpu.flush();
    const ms = performance.now() - start;
    loss.dispose();
    return ms;
  });
  const median = times.sort((a, b) => a - b)[STEPS / 2];
  console.log(`${precision}: a training step takes ${median.toFixed(1)} ms of JavaScript, Dawn's part included`);
  if (precision === "f16") model.half();
  for (const streams of STREAMS) {
    const prompts = Array.from({ length: streams }, (_, i) => [1, 2, i]);
    const options = { maxNewTokens: 2, temperature: 0.7, topK: 20, topP: 0.9, repetitionPenalty: 1.1 };
    for await (const _ of model.generateBatch(prompts, options));
  }
}
await gpu.finish(); // where a pipeline's error surfaces
process.exit(0);
