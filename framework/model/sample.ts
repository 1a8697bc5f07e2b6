import { hostRandom } from "../tensor/random.ts";

export interface SampleOptions {
  /** Divides the logits; 0 takes the likeliest token always (default 1). */
  temperature?: number;
  /** Keeps the k likeliest tokens; 0 keeps all. Fan et al. 2018, arXiv:1805.04833 */
  topK?: number;
  /** Keeps the likeliest tokens that make up this share. Holtzman et al. 2019, arXiv:1904.09751 */
  topP?: number;
  /** Divides a positive logit of a token that occurred, multiplies a negative one. Keskar et al. 2019, arXiv:1909.05858 */
  repetitionPenalty?: number;
  /** The same seed draws the same tokens (default 0). */
  seed?: number;
}

/** A function that picks a token by its logits, given the tokens so far. @throws RangeError where an option is out of range */
export function sampler(options: SampleOptions): (logits: Float32Array, seen: readonly number[]) => number {
  const { temperature = 1, topK = 0, topP = 1, repetitionPenalty = 1, seed = 0 } = options;
  if (!(temperature >= 0)) throw new RangeError(`generate: temperature is ${temperature}, expected 0 or more`);
  if (!(topP > 0 && topP <= 1)) throw new RangeError(`generate: topP is ${topP}, expected more than 0, at most 1`);
  if (!(topK >= 0)) throw new RangeError(`generate: topK is ${topK}, expected 0 or more`);
  if (!(repetitionPenalty > 0))
    throw new RangeError(`generate: repetitionPenalty is ${repetitionPenalty}, expected more than 0`);
  const random = hostRandom(seed);
  return (logits, seen) => {
    if (repetitionPenalty !== 1) penalize(logits, seen, repetitionPenalty);
    if (temperature === 0) return argmax(logits);
    return draw(candidates(logits, temperature, topK, topP), random());
  };
}

function penalize(logits: Float32Array, seen: readonly number[], penalty: number): void {
  for (const token of new Set(seen))
    logits[token] = logits[token] > 0 ? logits[token] / penalty : logits[token] * penalty;
}

function argmax(logits: Float32Array): number {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  return best;
}

/** The tokens that may be drawn, likeliest first, with their weights. */
function candidates(
  logits: Float32Array,
  temperature: number,
  topK: number,
  topP: number,
): { token: number; weight: number }[] {
  const top = logits[argmax(logits)];
  const all = Array.from(logits, (logit, token) => ({ token, weight: Math.exp((logit - top) / temperature) }));
  const sorted = all.sort((a, b) => b.weight - a.weight || a.token - b.token);
  const few = topK > 0 ? sorted.slice(0, topK) : sorted;
  if (topP === 1) return few;
  const enough = topP * few.reduce((sum, c) => sum + c.weight, 0);
  let sum = 0;
  const count = few.findIndex((c) => {
    sum += c.weight;
    return sum >= enough;
  });
  return few.slice(0, count < 0 ? few.length : count + 1);
}

function draw(from: { token: number; weight: number }[], at: number): number {
  let left = at * from.reduce((sum, c) => sum + c.weight, 0);
  for (const { token, weight } of from) {
    left -= weight;
    if (left < 0) return token;
  }
  return from[from.length - 1].token;
}
