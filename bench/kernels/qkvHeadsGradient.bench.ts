import { qkvHeadsGradient, TOKENS } from "../../kernels/qkvHeadsGradient.ts";
import { kernelCase } from "../case.ts";
import { headsCases } from "./headsCases.ts";

export default headsCases.map(({ label, shape, tokens, head, all, buffers, uniforms }) => {
  const partial = 4 * (shape.heads + shape.kvHeads) * Math.ceil(tokens / TOKENS) * shape.headDim;
  const [kAt, vAt] = [shape.heads, shape.heads + shape.kvHeads].map((count) => (count * head) / 16);
  const all4 = { ...buffers, grads: all, dqkv: all, partial };
  return kernelCase(qkvHeadsGradient, label, shape, all4, { ...uniforms, kAt, vAt });
});
