import { qkvHeads } from "../../kernels/qkvHeads.ts";
import { kernelCase } from "../case.ts";
import { headsCases } from "./headsCases.ts";

export default headsCases.map(({ label, shape, head, buffers, uniforms }) => {
  const [q, k] = [shape.heads * head, shape.kvHeads * head];
  return kernelCase(qkvHeads, label, shape, { ...buffers, q, k, v: k }, { ...uniforms, capacity: 512, start: 0 });
});
