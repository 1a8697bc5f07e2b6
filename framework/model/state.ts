/** What training goes on from: f32 weights, the optimizer's moments, the random numbers' place. */

import { toFloat32 } from "../checkpoint/host.ts";
import type { TensorToWrite } from "../checkpoint/safetensors.ts";
import type { Checkpoint } from "../checkpoint/source.ts";
import type { Module } from "../nn/index.ts";
import type { Optimizer } from "../optim/index.ts";
import { randomState, setRandomState } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";

export interface TrainingState {
  /** Read from the device one by one as they are written. */
  tensors: Map<string, TensorToWrite>;
  meta: { random: { seed: number; draw: number } };
}

/** The state after the last step. Write it before the next one. */
export function snapshot(model: Module, optimizer: Optimizer): TrainingState {
  const entry = (tensor: Tensor): TensorToWrite => ({
    shape: [...tensor.shape],
    dtype: "F32",
    data: async () => (await tensor.data()) as Float32Array<ArrayBuffer>,
  });
  const tensors = new Map([
    ...[...model.namedParameters()].map(([name, p]) => [`model.${name}`, entry(p)] as const),
    ...[...optimizer.state()].map(([name, t]) => [`optimizer.${name}`, entry(t)] as const),
  ]);
  return { tensors, meta: { random: randomState() } };
}

/** Puts a saved state back. @throws FileError where a tensor is missing or damaged, MicroMindError where it has another size */
export function restore(
  saved: { tensors: Checkpoint; meta: TrainingState["meta"] },
  model: Module,
  optimizer: Optimizer,
): void {
  const read = (name: string) => toFloat32(saved.tensors.get(name));
  for (const [name, p] of model.namedParameters()) p.write(read(`model.${name}`));
  optimizer.loadState(new Map([...optimizer.state().keys()].map((name) => [name, read(`optimizer.${name}`)])));
  setRandomState(saved.meta.random);
}
