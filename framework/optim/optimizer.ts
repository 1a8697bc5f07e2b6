import { adamw } from "../../kernels/adamw.ts";
import { clip } from "../../kernels/clip.ts";
import { sgd } from "../../kernels/sgd.ts";
import { noGrad } from "../autograd/graph.ts";
import { MicroMindError } from "../device/errors.ts";
import { fill } from "../ops/elementwise.ts";
import { full } from "../ops/pointwise.ts";
import { sumSquares } from "../ops/reduce.ts";
import { concat, stack } from "../ops/shape.ts";
import { gpu } from "../tensor/engine.ts";
import { scope, unscoped } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { type FlatBuffer, flatten, refreshHalves, takeOver } from "./flat.ts";

export interface StepOptions {
  learningRate?: number;
  /** Largest global norm of the gradients; larger ones are scaled down to it. None where silent or 0. */
  clip?: number;
  /** A step whose loss is not finite changes nothing. */
  loss?: Tensor;
}

/** What a step came to, read back. */
export interface StepReport {
  loss: number;
  /** Global gradient norm before clipping. */
  gradNorm: number;
  /** Whether loss and norm were finite, so that the step counted. */
  counted: boolean;
  /** In f16: what the gradients are multiplied by, after this step. */
  lossScale?: number;
  /** In f16: whether the step was lost to a gradient beyond f16's range, for which the scale was halved. */
  overflow?: boolean;
}

/** What products are made in. `f16`: parameters keep f16 copies, gradients come scaled. */
export type Precision = "f32" | "f16";
export const precisions: Precision[] = ["f32", "f16"];

/** torch.amp.GradScaler's first scale. */
const FIRST_SCALE = 2 ** 16;

/** Whose buffers a parameter lies in. */
const owners = new WeakMap<Tensor, Optimizer>();

/**
 * What all optimizers share: parameters, gradients and moments in flat buffers, and a decision on the device (clip, skip) that
 * needs no read. Takes the parameters over into its buffers; they stay the same tensors.
 */
export abstract class Optimizer {
  readonly buffers: FlatBuffer[];
  /** { scale, norm, counted, updates so far }, on the device. */
  readonly control: Tensor;
  /** In f16: { scale of the gradients, counted steps since it changed, steps lost to overflow, whether the last was }, on the device. */
  readonly scaler: Tensor | undefined;
  /** In f16: what the loss's gradients must come multiplied by (`model.loss(…, { gradientScale })`), one f32 on the device. */
  readonly gradientScale: Tensor | undefined;
  private readonly moments: { name: string; tensors: Tensor[] }[];

  constructor(
    parameters: readonly Tensor[] | Map<string, Tensor>,
    public learningRate: number,
    moments: readonly string[],
    precision: Precision = "f32",
  ) {
    const all = parameters instanceof Map ? parameters : new Map(parameters.map((p, i) => [`${i}`, p]));
    const first = new Map([...all].reverse().map(([name, p]) => [p, name])); // weights that are tied come twice
    const named = new Map([...all].filter(([name, p]) => p.requiresGrad && first.get(p) === name)); // frozen ones stay where they are
    if (!precisions.includes(precision))
      throw new MicroMindError(`optimizer: precision is ${precision}, expected ${precisions.join(" or ")}`);
    if (named.size === 0)
      throw new MicroMindError("optimizer: no parameters; does any tensor of the model have requiresGrad?");
    const halved = precision === "f16";
    if (halved && !gpu().target.f16)
      throw new MicroMindError(`optimizer: ${gpu().name} has no f16; train with precision "f32"`);
    this.buffers = flatten(named, halved);
    for (const p of named.values()) owners.set(p, this);
    gpu().trim(); // where the parameters lay before
    this.control = unscoped(() => full([4], 0));
    this.scaler = halved ? unscoped(() => Tensor.from([FIRST_SCALE, 0, 0, 0])) : undefined;
    this.gradientScale = unscoped(() => this.scaler?.window(0, [1]));
    this.moments = moments.map((name) => ({
      name,
      tensors: this.buffers.map((b) => unscoped(() => fill(Tensor.empty(b.values.shape, "f32", `moment ${name}`), 0))),
    }));
  }

  /** Launches the update of one flat buffer with its moments. */
  protected abstract update(buffer: FlatBuffer, moments: Tensor[], learningRate: number): void;

  /** Sets all gradients to zero, in the optimizer's own place for them. */
  zeroGrad(): void {
    for (const { parameters, own, gradients } of this.buffers) {
      fill(gradients, 0);
      parameters.forEach((p, i) => {
        if (owners.get(p) === this) p.grad = own[i].grad;
      });
    }
  }

  /** Changes the parameters by their gradients, unless loss or gradients are not finite. */
  step({ learningRate = this.learningRate, clip: maxNorm = 0, loss }: StepOptions = {}): void {
    if (!Number.isFinite(learningRate) || !(maxNorm >= 0))
      throw new RangeError(
        `optimizer: learningRate is ${learningRate} and clip ${maxNorm}, expected a number and 0 or more`,
      );
    noGrad(() =>
      scope(() => {
        const parts = this.buffers.map((buffer) => this.takingPart(buffer));
        const squares = stack(this.buffers.map((b) => sumSquares(b.gradients)));
        const finite = loss ?? squares;
        const views = { squares: squares.view(), loss: finite.view(), control: this.control.view() };
        const { scaler } = this;
        gpu().launch(
          clip,
          scaler ? { ...views, scaler: scaler.view() } : views,
          { scaled: scaler !== undefined },
          { n: squares.size, maxNorm },
        );
        this.buffers.forEach((buffer, i) => {
          for (const [start, end] of parts[i]) {
            const part = (t: Tensor) => t.window(start, [end - start]);
            const own = { ...buffer, values: part(buffer.values), gradients: part(buffer.gradients) };
            this.update(
              own,
              this.moments.map((m) => part(m.tensors[i])),
              learningRate,
            );
          }
          buffer.values.touch();
          refreshHalves(buffer);
        });
      }),
    );
    gpu().flush();
  }

  /**
   * The stretches of a buffer (first element, and the one behind the last) that a step changes: all of it, but for parameters that were frozen or left without a
   * gradient since. Gradients that a script put elsewhere are copied to their place.
   */
  private takingPart({ names, parameters, own, offsets, values }: FlatBuffer): [start: number, end: number][] {
    const stretches: [number, number][] = [];
    parameters.forEach((p, i) => {
      if (owners.get(p) !== this)
        throw new MicroMindError(`optimizer: another optimizer has taken ${names[i]} over; this one can step no more`);
      const place = own[i].grad;
      if (!p.requiresGrad || !p.grad) {
        fill(place, 0); // a norm counts all
        return;
      }
      if (p.grad !== place) takeOver(p.grad, place);
      p.grad = place;
      const [start, end] = [offsets[i], offsets[i + 1] ?? values.size];
      const last = stretches.at(-1);
      if (last?.[1] === start) last[1] = end;
      else stretches.push([start, end]);
    });
    return stretches;
  }

  /** Reads back what the last step came to, and other figures of one number each in the same copy. Waits for it. */
  async report<Names extends string = never>(
    loss: Tensor,
    more: Record<Names, Tensor> = {} as Record<Names, Tensor>,
  ): Promise<StepReport & Record<Names, number>> {
    const names = Object.keys(more) as Names[];
    const scaler = this.scaler ? [this.scaler] : [];
    const copy = noGrad(() =>
      scope(() => concat([loss.reshape(1), this.control, ...scaler, ...names.map((name) => more[name].reshape(1))], 0)),
    );
    const [value, , gradNorm, counted, , ...rest] = await copy.data();
    copy.dispose();
    const scaling = this.scaler ? { lossScale: rest[0], overflow: rest[3] === 1 } : {};
    const figures = Object.fromEntries(names.map((name, i) => [name, rest[(this.scaler ? 4 : 0) + i]]));
    return { loss: value, gradNorm, counted: counted === 1, ...scaling, ...(figures as Record<Names, number>) };
  }

  /** Everything that a resumed run needs beside the parameters, by name. */
  state(): Map<string, Tensor> {
    const state = new Map([["control", this.control]]);
    if (this.scaler) state.set("scaler", this.scaler);
    for (const { name, tensors } of this.moments) {
      this.buffers.forEach(({ names, parameters, offsets }, i) => {
        names.forEach((parameter, k) => {
          state.set(`${name}.${parameter}`, tensors[i].window(offsets[k], parameters[k].shape));
        });
      });
    }
    return state;
  }

  /** @throws MicroMindError where a part is missing or of another size */
  loadState(state: Map<string, ArrayLike<number>>): void {
    for (const [name, tensor] of this.state()) {
      const values = state.get(name);
      if (!values || values.length !== tensor.size)
        throw new MicroMindError(
          `optimizer: ${name} is ${values ? `${values.length} numbers` : "missing"}, expected ${tensor.size}`,
        );
      tensor.write(values);
    }
  }

  /** Frees moments and gradients; the parameters stay. */
  dispose(): void {
    for (const { tensors } of this.moments) for (const tensor of tensors) tensor.dispose();
    for (const { parameters, own, gradients, values, halves } of this.buffers) {
      parameters.forEach((p, i) => {
        const { grad, half } = own[i];
        if (p.grad === grad) p.grad = undefined; // unless another optimizer has taken the parameter over
        if (p.half === half) p.half = undefined;
        grad.dispose();
        half?.dispose();
      });
      gradients.dispose();
      values.dispose();
      halves?.dispose();
    }
    this.control.dispose();
    this.gradientScale?.dispose();
    this.scaler?.dispose();
  }
}

export interface AdamWOptions {
  learningRate?: number;
  betas?: readonly [number, number];
  eps?: number;
  weightDecay?: number;
  /** `f16` keeps f16 copies of the parameters and settles a scale for the gradients (default `f32`). */
  precision?: Precision;
}

/** Adam with decoupled weight decay; PyTorch's defaults. Loshchilov & Hutter 2017, arXiv:1711.05101 */
export class AdamW extends Optimizer {
  private readonly betas: readonly [number, number];
  private readonly eps: number;
  private readonly weightDecay: number;

  constructor(
    parameters: readonly Tensor[] | Map<string, Tensor>,
    { learningRate = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01, precision }: AdamWOptions = {},
  ) {
    super(parameters, learningRate, ["m", "v"], precision);
    this.betas = betas;
    this.eps = eps;
    this.weightDecay = weightDecay;
  }

  protected update({ values, gradients }: FlatBuffer, [m, v]: Tensor[], learningRate: number): void {
    const views = { p: values.view(), g: gradients.view(), m: m.view(), v: v.view(), control: this.control.view() };
    const [beta1, beta2] = this.betas;
    gpu().launch(
      adamw,
      views,
      {},
      { n: values.size, learningRate, beta1, beta2, eps: this.eps, weightDecay: this.weightDecay },
    );
  }
}

export interface SGDOptions {
  learningRate?: number;
  momentum?: number;
  weightDecay?: number;
  precision?: Precision;
}

/** Stochastic gradient descent with momentum, PyTorch's way. */
export class SGD extends Optimizer {
  private readonly momentum: number;
  private readonly weightDecay: number;

  constructor(
    parameters: readonly Tensor[] | Map<string, Tensor>,
    { learningRate = 1e-3, momentum = 0, weightDecay = 0, precision }: SGDOptions = {},
  ) {
    super(parameters, learningRate, ["v"], precision);
    this.momentum = momentum;
    this.weightDecay = weightDecay;
  }

  protected update({ values, gradients }: FlatBuffer, [v]: Tensor[], learningRate: number): void {
    const views = { p: values.view(), g: gradients.view(), v: v.view(), control: this.control.view() };
    gpu().launch(
      sgd,
      views,
      {},
      { n: values.size, learningRate, momentum: this.momentum, weightDecay: this.weightDecay },
    );
  }
}
