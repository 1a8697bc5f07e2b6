import type { HeadsShape } from "../../kernels/shared/heads.ts";

/** The tiny preset's heads, and those of MiniMind's reference model. */
export const headsCases = [
  { tokens: 1024, heads: 4, kvHeads: 2, headDim: 32 },
  { tokens: 2048, heads: 8, kvHeads: 2, headDim: 64 },
].map(({ tokens, heads, kvHeads, headDim }) => {
  const shape: HeadsShape = {
    heads,
    kvHeads,
    headDim,
    norm: true,
    rotary: true,
    positions: false,
    byPosition: false,
    dtype: "f32",
  };
  const head = 4 * tokens * headDim;
  const all = (heads + 2 * kvHeads) * head;
  const label = `${tokens} tokens, ${heads}/${kvHeads} heads of ${headDim}`;
  const buffers = { qkv: all, qNorm: 4 * headDim, kNorm: 4 * headDim, table: 4 * 512 * headDim };
  return { label, shape, tokens, head, all, buffers, uniforms: { tokens, length: 512, offset: 0, eps: 1e-6 } };
});
