export {
  Dropout,
  Embedding,
  LayerNorm,
  Linear,
  type LinearOptions,
  normal,
  RMSNorm,
  Sequential,
  SwiGLU,
} from "./layers.ts";
export { Module, parameter, StateDictError } from "./module.ts";
