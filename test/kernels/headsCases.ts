import type { HeadsShape } from "../../kernels/shared/heads.ts";
import type { HeadsInput } from "./headsReference.ts";
import { noise } from "./launch.ts";

const LENGTH = 7; // tokens of a batch row
const OFFSET = 2;
export const EPS = 1e-3;

/** Kinds of heads that all kernels between projection and attention must serve: Qwen's, Llama's, one without positions. */
export const kinds: [title: string, shape: Partial<HeadsShape>][] = [
  ["norms and positions", {}],
  ["given positions", { positions: true }],
  ["no norms", { norm: false }],
  ["no positions", { rotary: false }],
  ["a head of 8", { headDim: 8, heads: 3, kvHeads: 3 }],
  ["a wide head", { headDim: 88 }],
  ["a head of 136, of which lanes cannot share the pairs", { headDim: 136 }],
];

export function caseOf(more: Partial<HeadsShape>, rows = 3): HeadsInput {
  const shape: HeadsShape = {
    ...{
      heads: 4,
      kvHeads: 2,
      headDim: 32,
      norm: true,
      rotary: true,
      positions: false,
      byPosition: false,
      dtype: "f32",
    },
    ...more,
  };
  const { heads, kvHeads, headDim } = shape;
  const tokens = rows * LENGTH;
  const places = 16;
  return {
    shape,
    tokens,
    qkv: noise(tokens * (heads + 2 * kvHeads) * headDim, 1),
    qNorm: noise(headDim, 2),
    kNorm: noise(headDim, 3),
    table: noise(places * headDim, 4),
    positions: Int32Array.from({ length: tokens }, (_, i) =>
      shape.positions ? (i * 5) % places : OFFSET + (i % LENGTH),
    ),
    eps: EPS,
  };
}

export const uniformsOf = ({ tokens, eps }: HeadsInput) => ({ tokens, length: LENGTH, offset: OFFSET, eps });

/** The kernels' read-only bindings. */
export function arraysOf({ shape, qkv, qNorm, kNorm, table, positions }: HeadsInput) {
  return {
    qkv: qkv as Float32Array,
    ...(shape.norm ? { qNorm: qNorm as Float32Array, kNorm: kNorm as Float32Array } : {}),
    ...(shape.rotary ? { table: table as Float32Array } : {}),
    ...(shape.positions && (shape.rotary || shape.byPosition) ? { position: positions as Int32Array } : {}),
  };
}
