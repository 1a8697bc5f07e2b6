/** Rows of query and key weights in the two orders that rotary embeddings are written for. */
import { fileDTypes, type HostTensor, sizeOf } from "../checkpoint/host.ts";

/**
 * A rotary embedding turns pairs of a head's channels: neighbours (2i, 2i + 1) in Meta's Llama, MiniMind's first models and llama.cpp's
 * "llama"; the halves (i, i + D/2) in Hugging Face's and here. Reordering the rows of W_q and W_k turns one into the other.
 * @param tensor [heads · D, …], in any dtype
 */
export const neighboursToHalves = (tensor: HostTensor, heads: number): HostTensor =>
  reorder(tensor, heads, (row, half) => (row < half ? 2 * row : 2 * (row - half) + 1));

/** The way back. */
export const halvesToNeighbours = (tensor: HostTensor, heads: number): HostTensor =>
  reorder(tensor, heads, (row, half) => (row % 2 === 0 ? row / 2 : half + (row - 1) / 2));

function reorder(
  { shape, dtype, data }: HostTensor,
  heads: number,
  source: (row: number, half: number) => number,
): HostTensor {
  const perHead = shape[0]! / heads;
  const columns = sizeOf(shape.slice(1));
  const result = new fileDTypes[dtype](data.length);
  const [from, to] = [data as Float32Array, result as Float32Array]; // whatever they are, they are alike
  for (let row = 0; row < shape[0]!; row++) {
    const within = row % perHead;
    const at = (row - within + source(within, perHead / 2)) * columns;
    to.set(from.subarray(at, at + columns), row * columns);
  }
  return { shape, dtype, data: result };
}

/** Tensors of one shape and dtype as one, along a new first axis. */
export function stackTensors(tensors: readonly HostTensor[]): HostTensor {
  const { shape, dtype } = tensors[0]!;
  const data = new fileDTypes[dtype](sizeOf(shape) * tensors.length);
  tensors.forEach((tensor, i) => void (data as Float32Array).set(tensor.data as Float32Array, i * sizeOf(shape)));
  return { shape: [tensors.length, ...shape], dtype, data };
}
