import { isRecording, noGrad } from "../autograd/graph.ts";
import { op } from "../autograd/op.ts";
import { DeviceError, MicroMindError, ShapeError } from "../device/errors.ts";
import { Linear, Module, type Placement } from "../nn/index.ts";
import { documentSpans } from "../ops/attention.ts";
import { plainLinear } from "../ops/decodeLinear.ts";
import { linearCrossEntropy } from "../ops/linearCrossEntropy.ts";
import { linearLogProbs } from "../ops/linearLogProbs.ts";
import { gpu } from "../tensor/engine.ts";
import { scope, unscoped } from "../tensor/scope.ts";
import { showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { KVCache } from "./cache.ts";
import { type ModelConfig, modelConfig } from "./config.ts";
import { Decoder } from "./decoder.ts";
import { type GeneratedToken, type GenerateOptions, generate, generateBatch } from "./generate.ts";
import { ropeTable } from "./rotary.ts";

/** Token ids: rows of one length, or i32 [B, T] on the device. */
export type Tokens = readonly (readonly number[] | Int32Array)[] | Tensor;

export interface ForwardOptions {
  /** Positions of the tokens and the documents they belong to, for packed rows: i32 [B, T]. */
  positions?: Tensor;
  segments?: Tensor;
  /** Goes on behind what the cache holds, and adds to it. */
  cache?: KVCache;
  /** Of a model of experts: takes each layer's balance loss; see {@link CausalLM.auxLoss}. */
  balance?: Tensor[];
}

export interface LogProbsOptions extends ForwardOptions {
  /** What the gradients come multiplied by; an optimizer of f16 precision settles it (`optimizer.gradientScale`). */
  gradientScale?: Tensor;
}

export interface LossOptions extends LogProbsOptions {
  reduction?: "mean" | "sum";
  /** f32 [B, T]: what each position's loss is multiplied by; the mean stays that over labels. */
  weights?: Tensor;
}

export interface Losses {
  /** What training minimises: the sum of the others. */
  loss: Tensor;
  crossEntropy: Tensor;
  /** Of a model of experts, where a gradient is recorded: {@link CausalLM.auxLoss}. */
  auxLoss?: Tensor;
}

/** x as it is, its gradient times `scale`. */
const scaleGradient = op("scaleGradient", {
  value: (x: Tensor, scale: Tensor) => ({ y: x.alias(), saved: { scale } }),
  gradient: (dy, { scale }) => [dy.mul(scale), null],
});

/** A decoder with its output layer: a causal language model. */
export class CausalLM extends Module {
  readonly config: ModelConfig;
  readonly model: Decoder;
  /** Absent where the embedding serves (`tie_word_embeddings`). */
  readonly lm_head: Linear | undefined;
  private table: Tensor;

  /** A model of random weights, drawn from `manualSeed`. @throws ModelConfigError */
  constructor(config: Partial<ModelConfig>) {
    super();
    this.config = modelConfig(config);
    this.model = new Decoder(this.config);
    const { hidden_size, vocab_size, initializer_range: std } = this.config;
    this.lm_head = this.config.tie_word_embeddings
      ? undefined
      : new Linear(hidden_size, vocab_size, { bias: false, std });
    this.table = this.makeTable(Math.min(this.config.max_position_embeddings, 512));
  }

  /** Logits [B, T, V]. @throws ShapeError, RangeError where tokens are not rows of one length within the vocabulary */
  forward(tokens: Tokens, options: ForwardOptions = {}): Tensor {
    return this.logits(this.hidden(tokens, options));
  }

  /** Logits [..., V] of hidden states [..., hidden]. */
  logits(h: Tensor): Tensor {
    return plainLinear(h, this.head);
  }

  /** Logits [B, V] of each row's last token, the only ones that generation needs. */
  lastLogits(tokens: Tokens, options: ForwardOptions = {}): Tensor {
    return noGrad(() =>
      scope(() => {
        const h = this.hidden(tokens, options);
        return this.logits(h.slice(1, -1).squeeze(1));
      }),
    );
  }

  /** Hidden states [B, T, hidden] behind the final norm. @throws ShapeError, RangeError as `forward` */
  hidden(tokens: Tokens, { positions, segments, cache, balance }: ForwardOptions = {}): Tensor {
    const ids = this.onDevice(tokens, "tokens");
    if (ids.rank !== 2) throw new ShapeError(`model: tokens are ${showShape(ids.shape)}, expected [B, T]`);
    if (cache) this.expectOwn(cache);
    else this.growTable(ids.shape[1]);
    const placement: Placement = {
      table: cache?.table ?? this.table,
      positions,
      segments,
      spans: segments && documentSpans(segments),
      cache,
    };
    const h = this.model.forward(ids, placement, balance);
    cache?.advance(ids.shape[1]);
    return h;
  }

  /**
   * Mean cross-entropy of the next token, one f32. A model of experts adds {@link auxLoss} where a gradient is recorded; under `noGrad` it is the
   * cross-entropy alone.
   * @param labels i32 [B, T], each position's own target (already shifted), −100 where none counts
   */
  loss(tokens: Tokens, labels: Tokens, options: LossOptions = {}): Tensor {
    return this.losses(tokens, labels, options).loss;
  }

  /** What {@link loss} consists of. With `reduction: "sum"` the balance loss counts once for each label, as the cross-entropy does. */
  losses(tokens: Tokens, labels: Tokens, options: LossOptions = {}): Losses {
    const { reduction, gradientScale, weights } = options;
    const balance = options.balance ?? (isRecording() && this.config.num_experts ? [] : undefined);
    const h = this.hidden(tokens, { ...options, balance });
    const target = this.onDevice(labels, "labels").reshape(-1);
    const rows = h.reshape(-1, this.config.hidden_size);
    const rowWeights = weights?.reshape(-1);
    const crossEntropy = linearCrossEntropy(rows, this.head, target, { reduction, rowWeights, gradientScale });
    if (!balance?.length) return { loss: crossEntropy, crossEntropy };
    const mean = this.auxLoss(balance, { gradientScale });
    const auxLoss = reduction === "sum" ? mean.mul(target.ne(-100).sum()) : mean;
    return { loss: crossEntropy.add(auxLoss), crossEntropy, auxLoss };
  }

  /**
   * `router_aux_loss_coef` times the layers' balance losses, for a loss of one's own over `hidden` or `forward`:
   * `const balance = []; const h = model.hidden(tokens, { balance }); loss.add(model.auxLoss(balance))`.
   */
  auxLoss(balance: readonly Tensor[], { gradientScale }: Pick<LossOptions, "gradientScale"> = {}): Tensor {
    const all = balance.reduce((sum, loss) => sum.add(loss)).mul(this.config.router_aux_loss_coef);
    return gradientScale ? scaleGradient(all, gradientScale) : all;
  }

  /**
   * Log-probability of each position's label, f32 [B, T]: what preference losses and policy gradients are made of.
   * @param labels i32 [B, T], each position's own target (already shifted), −100 where none counts, which gives 0
   */
  logProbs(tokens: Tokens, labels: Tokens, options: LogProbsOptions = {}): Tensor {
    const h = this.hidden(tokens, options);
    const target = this.onDevice(labels, "labels");
    const { gradientScale } = options;
    const rows = h.reshape(-1, this.config.hidden_size);
    return linearLogProbs(rows, this.head, target.reshape(-1), { gradientScale }).reshape(target.shape);
  }

  /** Token ids one by one; see {@link GenerateOptions}. */
  generate(tokens: readonly number[], options: GenerateOptions = {}): AsyncGenerator<number> {
    return generate(this, tokens, options);
  }

  /** Continues prompts of any lengths together: tokens with their rows, as they come; see {@link GenerateOptions}. */
  generateBatch(
    prompts: readonly (readonly number[])[],
    options: GenerateOptions = {},
  ): AsyncGenerator<GeneratedToken> {
    return generateBatch(this, prompts, options);
  }

  private expectOwn({ config, dtype }: KVCache): void {
    const wrong =
      config !== this.config ? "is another model's" : dtype !== this.model.precision ? `holds ${dtype}` : "";
    if (wrong)
      throw new ShapeError(
        `model: the cache ${wrong}, expected one of this model's newCache in ${this.model.precision}`,
      );
  }

  newCache(batch: number, capacity: number): KVCache {
    const most = Math.min(capacity, this.config.max_position_embeddings);
    this.growTable(most);
    const table = unscoped(() => this.table.alias()); // its own handle: the model's may be replaced by a longer one
    return new KVCache(this.config, { batch, capacity: most, dtype: this.model.precision, table });
  }

  /**
   * For inference: from here on activations, caches and copies of the weights are f16, sums and norms f32. The weights stay as they are, and
   * what changes them must change their copies (`weight.half`). Frozen by it; training in f16 is the optimizer's affair.
   * @throws DeviceError where the adapter has no f16
   */
  half(): this {
    if (!gpu().target.f16) throw new DeviceError(`half: ${gpu().name} has no f16; stay with f32`);
    this.model.precision = "f16";
    return this.freeze({ halves: true });
  }

  override dispose(): void {
    super.dispose();
    this.table.dispose();
  }

  /** The output layer's weight [V, hidden]: the embedding's where they are tied. */
  get head(): Tensor {
    return this.lm_head?.weight ?? this.model.embed_tokens.weight;
  }

  /** Uploads ids, checked: what is outside the vocabulary would give NaN without a word. */
  private onDevice(tokens: Tokens, name: string): Tensor {
    if (tokens instanceof Tensor) return tokens;
    const length = tokens[0]?.length ?? 0;
    const flat = new Int32Array(tokens.length * length);
    tokens.forEach((row, b) => {
      if (row.length !== length)
        throw new ShapeError(`model: row ${b} of the ${name} has ${row.length} entries, the first has ${length}`);
      flat.set(row, b * length);
    });
    const wrong = flat.findIndex(
      (id) => id >= this.config.vocab_size || (id < 0 && !(name === "labels" && id === -100)),
    );
    if (wrong >= 0) {
      const place = `row ${Math.floor(wrong / length)}, position ${wrong % length}`;
      throw new MicroMindError(
        `model: ${name} hold ${flat[wrong]} (${place}), outside the vocabulary of ${this.config.vocab_size}`,
      );
    }
    return Tensor.from(flat, { shape: [tokens.length, length] });
  }

  private growTable(length: number): void {
    const { max_position_embeddings: most } = this.config;
    if (length > most) throw new ShapeError(`model: ${length} tokens are more than max_position_embeddings, ${most}`);
    if (length <= this.table.shape[0]) return;
    const larger = this.makeTable(Math.min(most, Math.max(length, this.table.shape[0] * 2)));
    this.table.dispose();
    this.table = larger;
  }

  private makeTable(positions: number): Tensor {
    return unscoped(() =>
      Tensor.from(ropeTable(this.config, positions), { shape: [positions, this.config.head_dim / 2, 2] }),
    );
  }
}
