import { MicroMindError } from "../device/errors.ts";
import type { CausalLM } from "./causalLM.ts";
import { type SampleOptions, sampler } from "./sample.ts";

export interface GenerateOptions extends SampleOptions {
  /** Tokens to make at most (default 128). */
  maxNewTokens?: number;
  /** Ends when one of these ids comes; it is not given out. */
  stop?: readonly number[];
}

/**
 * Continues a prompt, a token at a time, over a KV cache.
 * @throws MicroMindError where the prompt is empty or fills the model's positions
 */
export async function* generate(
  model: CausalLM,
  prompt: readonly number[],
  options: GenerateOptions,
): AsyncGenerator<number> {
  const { maxNewTokens = 128, stop = [] } = options;
  if (prompt.length === 0) throw new MicroMindError("generate: the prompt is empty, expected one token at least");
  const most = model.config.max_position_embeddings;
  if (prompt.length >= most)
    throw new MicroMindError(`generate: the prompt's ${prompt.length} tokens fill all ${most} positions of the model`);
  const pick = sampler(options);
  const seen = [...prompt];
  const cache = model.newCache(1, prompt.length + maxNewTokens);
  try {
    let next: readonly number[] = prompt;
    for (let i = 0; i < maxNewTokens && seen.length <= cache.capacity; i++) {
      const logits = model.lastLogits([next], { cache });
      const token = pick((await logits.data()) as Float32Array, seen);
      logits.dispose();
      if (stop.includes(token)) return;
      seen.push(token);
      yield token;
      next = [token];
    }
  } finally {
    cache.dispose();
  }
}
