import { rope } from "../../kernels/rope.ts";
import { kernelCase } from "../case.ts";

export default [
  { tokens: 1024, heads: 4, headDim: 32, length: 128 },
  { tokens: 4096, heads: 8, headDim: 64, length: 512 },
].map(({ tokens, heads, headDim, length }) => {
  const bytes = 4 * tokens * heads * headDim;
  const buffers = { x: bytes, table: 4 * length * headDim, y: bytes };
  return kernelCase(
    rope,
    `${tokens} tokens × ${heads} × ${headDim}`,
    { headDim, dtype: "f32", positions: false },
    buffers,
    { tokens, heads, length, offset: 0, direction: 1 },
  );
});
