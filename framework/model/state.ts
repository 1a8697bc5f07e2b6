/** What training goes on from: f32 weights, the optimizer's moments, the random numbers' place. */

import { toFloat32 } from "../checkpoint/host.ts";
import type { TensorToWrite } from "../checkpoint/safetensors.ts";
import type { Checkpoint } from "../checkpoint/source.ts";
import { MicroMindError } from "../device/errors.ts";
import type { Tunings } from "../device/winners.ts";
import type { Optimizer } from "../optim/index.ts";
import { gpu } from "../tensor/engine.ts";
import { randomState, setRandomState } from "../tensor/random.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** A model, or an adapter. */
interface Trained {
  namedParameters(): Map<string, Tensor>;
}

export interface TrainingState {
  /** Read from the device one by one as they are written. */
  tensors: Map<string, TensorToWrite>;
  meta: { random: { seed: number; draw: number }; data: string; tunings?: Tunings };
}

/**
 * The state after the last step. Write it before the next one.
 * @param data names what is trained on, by content: a resumed run must find the same
 */
export function snapshot(model: Trained, optimizer: Optimizer, data: string): TrainingState {
  const entry = (tensor: Tensor): TensorToWrite => ({
    shape: [...tensor.shape],
    dtype: "F32",
    data: async () => (await tensor.data()) as Float32Array<ArrayBuffer>,
  });
  const tensors = new Map([
    ...[...model.namedParameters()].map(([name, p]) => [`model.${name}`, entry(p)] as const),
    ...[...optimizer.state()].map(([name, t]) => [`optimizer.${name}`, entry(t)] as const),
  ]);
  return { tensors, meta: { random: randomState(), data, tunings: gpu().tunings } };
}

/**
 * Puts a saved state back.
 * @throws MicroMindError where the data is not what the state was trained on, or a tensor has another size; FileError where one is
 *   missing or damaged
 */
export function restore(
  saved: { tensors: Checkpoint; meta: TrainingState["meta"] },
  model: Trained,
  optimizer: Optimizer,
  data: string,
): void {
  if (saved.meta.data !== data) {
    throw new MicroMindError(
      "--resume: the data, the tokenizer, the base or the teacher has changed since the run began; bring them back, or start a new run",
    );
  }
  const read = (name: string) => toFloat32(saved.tensors.get(name));
  for (const [name, p] of model.namedParameters()) p.write(read(`model.${name}`));
  optimizer.loadState(new Map([...optimizer.state().keys()].map((name) => [name, read(`optimizer.${name}`)])));
  setRandomState(saved.meta.random);
}
