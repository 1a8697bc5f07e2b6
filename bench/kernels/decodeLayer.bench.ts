import { availableParallelism } from "node:os";
import type { Scalar } from "../../framework/device/kernel.ts";
import { type DecodeLayerShape, decodeLayer, scratchOf } from "../../kernels/decodeLayer.ts";
import { perLoad } from "../../kernels/shared/decodeProduct.ts";
import { MEETING_WORDS } from "../../kernels/shared/meet.ts";
import { kernelCase } from "../case.ts";

const [hidden, intermediate, kvHeads, group, headDim] = [512, 1408, 2, 4, 64];

/** micromind-26m's layer, a token with 64 or 512 keys. */
export default (
  [
    ["f32", 64],
    ["f32", 512],
    ["f16", 64],
  ] as [Scalar, number][]
).map(([weights, keys]) => {
  const dtype = weights;
  const shape: DecodeLayerShape = {
    lanes: 8,
    hidden,
    intermediate,
    kvHeads,
    group,
    headDim,
    dtype,
    weights,
    norm: true,
  };
  const [heads, qkv] = [group * kvHeads * headDim, (group + 2) * kvHeads * headDim];
  const matrices = [qkv * hidden, heads * hidden, 2 * intermediate * hidden, intermediate * hidden];
  const starts = matrices.map((_, i) => matrices.slice(0, i).reduce((sum, n) => sum + n, 0));
  const size = starts[3] + matrices[3];
  const bytes = weights === "f16" ? 2 : 4;
  const random = (n: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898) * 0.05);
  const stored = (n: number) => (weights === "f16" ? Float16Array.from(random(n)) : random(n));
  const cache = keys * kvHeads * headDim;
  const buffers = {
    ...{ x: stored(hidden), w: stored(size), gains: 4 * (2 * hidden + 2 * headDim), table: 4 * keys * headDim },
    ...{ lengths: Int32Array.of(keys - 1), k: stored(cache), v: stored(cache), met: new Uint32Array(MEETING_WORDS) },
    ...{ scratch: bytes * 4 * scratchOf(shape).size, y: bytes * hidden },
  };
  const [atQkv, atOut, atGate, atDown] = starts.map((start) => start / perLoad(weights));
  const uniforms = {
    ...{ groups: availableParallelism(), patience: 1 << 28, batch: 1, kvHeads, capacity: keys, spans: 1, scale: 0.125 },
    ...{ eps: 1e-6, rowEps: 1e-6, atQkv, atOut, atGate, atDown, atNorm: 0, atMlpNorm: hidden / 4 },
    ...{ atQueryNorm: hidden / 2, atKeyNorm: hidden / 2 + headDim / 4 },
  };
  const name = `${hidden} × ${intermediate}, ${heads / headDim}/${kvHeads} heads × ${headDim}, ${keys} keys, ${weights}`;
  return { ...kernelCase(decodeLayer, name, shape, buffers, uniforms), software: true };
});
