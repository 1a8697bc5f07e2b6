import { attentionSpans } from "../../kernels/attentionSpans.ts";
import { kernelCase } from "../case.ts";

export default [
  [8, 128],
  [32, 512],
  [4, 2048],
].map(([batch, tokens]) => {
  const segments = Int32Array.from({ length: batch * tokens }, (_, i) => Math.floor((i % tokens) / 100));
  const buffers = { segments, spans: 8 * batch * tokens };
  return kernelCase(attentionSpans, `${batch} × ${tokens} tokens`, {}, buffers, { batch, tokens });
});
