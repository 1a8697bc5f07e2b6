import { NO_TOKEN, sample } from "../../kernels/sample.ts";
import { ShapeError } from "../device/errors.ts";
import type { Uniforms } from "../device/kernel.ts";
import { gpu } from "../tensor/engine.ts";
import { words } from "../tensor/random.ts";
import { unscoped } from "../tensor/scope.ts";
import { showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { expectFloat } from "./elementwise.ts";

export { NO_TOKEN };

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

/**
 * Picks tokens on the device. It keeps what that takes, for as many rows as there are prompts: the newest token of each row, all
 * that were picked, and which ones occurred. A row's tokens depend on its logits, the seed and the row's number alone.
 */
export class Sampler {
  /** i32 [B, 1]: the newest token of each row, the model's next input; {@link NO_TOKEN} where the logits gave none. */
  readonly token: Tensor;
  /** i32 [steps, B]: what was picked. */
  readonly out: Tensor;
  /** u32 [B]: tokens picked so far. */
  private readonly made: Tensor;
  /** u32 [B, ⌈V / 32⌉]: a bit for each token that occurred. */
  private readonly seen: Tensor | undefined;
  private readonly greedy: boolean;
  private readonly uniforms: Uniforms;

  /**
   * @param prompts tokens that count as having occurred
   * @param steps   tokens of a row that are kept
   * @throws RangeError where an option is out of range
   */
  constructor(
    prompts: readonly (readonly number[])[],
    private readonly vocabulary: number,
    steps: number,
    options: SampleOptions = {},
  ) {
    const { temperature, topK, topP, repetitionPenalty, seed } = checked(options);
    const batch = prompts.length;
    const [seedLow, seedHigh] = words(seed);
    this.greedy = temperature === 0;
    this.uniforms = {
      batch,
      vocabulary,
      penalty: repetitionPenalty,
      sharpness: this.greedy ? 0 : Math.LOG2E / temperature,
      topK,
      topP: topP === 1 ? 0 : Math.max(1, Math.min(Math.round(topP * 2 ** 32), 2 ** 32 - 1)),
      seedLow,
      seedHigh,
    };
    const keep = (data: Int32Array | Uint32Array, shape: number[]) => unscoped(() => Tensor.from(data, { shape }));
    this.token = keep(new Int32Array(batch), [batch, 1]);
    this.out = keep(new Int32Array(steps * batch), [steps, batch]);
    this.made = keep(new Uint32Array(batch), [batch]);
    const width = Math.ceil(vocabulary / 32);
    this.seen = repetitionPenalty === 1 ? undefined : keep(occurred(prompts, width), [batch, width]);
  }

  /** Picks a token for each row of logits [B, V], f32 or f16, and counts up `lengths`, i32 [B]. @throws ShapeError */
  sample(logits: Tensor, lengths: Tensor): void {
    expectFloat("sample", logits, "logits");
    const { token, out, made, seen, greedy, vocabulary } = this;
    if (logits.rank !== 2 || logits.shape[0] !== token.shape[0] || logits.shape[1] !== vocabulary)
      throw new ShapeError(
        `sample: logits are ${showShape(logits.shape)}, expected ${showShape([token.shape[0], vocabulary])}`,
      );
    const views = {
      ...{ logits: logits.view(), token: token.view(), out: out.view(), lengths: lengths.view(), made: made.view() },
      ...(seen ? { seen: seen.view() } : {}),
    };
    gpu().launch(sample, views, { dtype: logits.dtype, greedy, penalty: seen !== undefined }, this.uniforms);
  }

  dispose(): void {
    for (const tensor of [this.token, this.out, this.made, this.seen]) tensor?.dispose();
  }
}

function checked(options: SampleOptions): Required<SampleOptions> {
  const { temperature = 1, topK = 0, topP = 1, repetitionPenalty = 1, seed = 0 } = options;
  const whole = (x: number) => Number.isSafeInteger(x) && x >= 0;
  if (!(temperature >= 0 && temperature < Number.POSITIVE_INFINITY))
    throw new RangeError(`generate: temperature is ${temperature}, expected 0 or more`);
  if (!(topP > 0 && topP <= 1)) throw new RangeError(`generate: topP is ${topP}, expected more than 0, at most 1`);
  if (!whole(topK)) throw new RangeError(`generate: topK is ${topK}, expected a whole number, 0 or more`);
  if (!(repetitionPenalty > 0))
    throw new RangeError(`generate: repetitionPenalty is ${repetitionPenalty}, expected more than 0`);
  if (!Number.isSafeInteger(seed)) throw new RangeError(`generate: seed is ${seed}, expected a whole number`);
  return { temperature, topK: Math.min(topK, 2 ** 32 - 1), topP, repetitionPenalty, seed };
}

/** A bit for each token of each prompt. */
function occurred(prompts: readonly (readonly number[])[], width: number): Uint32Array {
  const bits = new Uint32Array(prompts.length * width);
  prompts.forEach((prompt, row) => {
    for (const id of prompt) bits[row * width + (id >> 5)] |= 1 << (id & 31);
  });
  return bits;
}
