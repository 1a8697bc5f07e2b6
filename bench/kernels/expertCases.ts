import { expertPlan } from "../../kernels/expertPlan.ts";
import { type KernelCase, kernelCase } from "../case.ts";

/** Tokens, experts, choices, width: what a small model and the 145m one send to their experts, and many small experts. */
export const expertSizes = [
  [1024, 4, 1, 256],
  [2048, 4, 1, 640],
  [2048, 64, 4, 512],
] as const;
export type ExpertSize = (typeof expertSizes)[number];

const TILE = 32;

/** Tables as `expertPlan` makes them, for tokens that go to the experts in turns. */
export function planOf([tokens, experts, choices]: ExpertSize) {
  const slots = tokens * choices;
  const expert = Uint32Array.from({ length: slots }, (_, i) => i % experts);
  const share = Math.ceil(slots / experts / TILE) * TILE;
  const rows = experts * share;
  const rowOf = Uint32Array.from({ length: slots }, (_, i) => (i % experts) * share + Math.floor(i / experts));
  const slotOf = new Uint32Array(rows).fill(0xffffffff);
  for (const [slot, row] of rowOf.entries()) slotOf[row] = slot;
  return { slots, rows, expert, rowOf, slotOf };
}

export const labelOf = ([tokens, experts, choices, columns]: ExpertSize) =>
  `${tokens} tokens × ${columns}, ${choices} of ${experts}`;

export function planCase(size: ExpertSize): KernelCase {
  const [, experts] = size;
  const { slots, expert } = planOf(size);
  const rows = TILE * Math.floor((slots + experts * (TILE - 1)) / TILE);
  const buffers = {
    ...{ expert, count: 4 * experts, rowOf: 4 * slots, slotOf: 4 * rows },
    ...{ tiles: (4 * rows) / TILE, segments: 4 * (experts + 1) },
  };
  return kernelCase(expertPlan, labelOf(size), { experts, tile: TILE }, buffers, { slots, rows });
}
