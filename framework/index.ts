/** The public surface of MicroMind: `import { tensor, nn, optim } from "micromind"`. What is not here is private. */
import "./ops/methods.ts";

export { type BackwardOptions, backward } from "./autograd/backward.ts";
export { checkpoint } from "./autograd/checkpoint.ts";
export { type GradcheckOptions, gradcheck } from "./autograd/gradcheck.ts";
export { noGrad } from "./autograd/graph.ts";
export { type OpDefinition, op } from "./autograd/op.ts";
export { FileError } from "./checkpoint/file.ts";
export * from "./device/errors.ts";
export { loadAdapter, saveAdapter } from "./model/adapter.ts";
export type { KVCache } from "./model/cache.ts";
export {
  CausalLM,
  type ForwardOptions,
  type LogProbsOptions,
  type Losses,
  type LossOptions,
  type Tokens,
} from "./model/causalLM.ts";
export { type ModelConfig, ModelConfigError, modelConfig, presets } from "./model/config.ts";
export type { GeneratedToken, GenerateOptions } from "./model/generate.ts";
export { loadModel, saveModel } from "./model/load.ts";
export { AdapterError, adaptableNames, LoraAdapter, type LoraOptions, loraTargets } from "./model/lora.ts";
export * as nn from "./nn/index.ts";
export { dropout, swiglu } from "./ops/activation.ts";
export { type AttentionOptions, scaledDotProductAttention } from "./ops/attention.ts";
export { arange, ones, rand, randn, tensor, zeros } from "./ops/create.ts";
export { embedding, gather, indexSelect, scatterAdd, select } from "./ops/gather.ts";
export { linear, packedLinear } from "./ops/linear.ts";
export { linearCrossEntropy } from "./ops/linearCrossEntropy.ts";
export { type LinearLogProbsOptions, linearLogProbs } from "./ops/linearLogProbs.ts";
export { matmul } from "./ops/matmul.ts";
export { layerNorm, rmsNorm } from "./ops/norm.ts";
export * from "./ops/pointwise.ts";
export {
  type Axes,
  argmax,
  cumsum,
  logsumexp,
  max,
  mean,
  min,
  type ReduceOptions,
  sum,
  variance,
} from "./ops/reduce.ts";
export { type RopeOptions, rope } from "./ops/rope.ts";
export {
  concat,
  expand,
  permute,
  reshape,
  slice,
  split,
  squeeze,
  stack,
  transpose,
  tril,
  triu,
  unsqueeze,
} from "./ops/shape.ts";
export { type CrossEntropyOptions, crossEntropy, logSoftmax, softmax } from "./ops/softmax.ts";
export * as optim from "./optim/index.ts";
export { type AutotuneOptions, autotune } from "./tensor/autotune.ts";
export type { DType } from "./tensor/dtype.ts";
export { type InitOptions, init, shutdown } from "./tensor/engine.ts";
export { manualSeed, randomState, setRandomState } from "./tensor/random.ts";
export { scope } from "./tensor/scope.ts";
export { type Nested, Tensor, type TensorOptions } from "./tensor/tensor.ts";
export {
  applyChatTemplate,
  ChatError,
  type ChatMessage,
  type ChatOptions,
  type ChatRole,
  type ToolCall,
} from "./text/chat.ts";
export { type EncodedChat, encodeChat } from "./text/encodeChat.ts";
export { TokenizerError } from "./text/json.ts";
export { loadTokenizer, type Tokenizer, trainTokenizer } from "./text/tokenizer.ts";
