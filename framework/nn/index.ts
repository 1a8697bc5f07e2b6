export { Attention, type AttentionCache, type AttentionSizes, type Placement } from "./attention.ts";
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
export { LowRank, type LowRankOptions } from "./lora.ts";
export { adjoin, Module, parameter, StateDictError } from "./module.ts";
export { type ExpertSizes, MoE } from "./moe.ts";
