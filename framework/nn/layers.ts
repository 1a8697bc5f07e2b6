import { dropout, swiglu } from "../ops/activation.ts";
import { ones, rand, randn, zeros } from "../ops/create.ts";
import { gatedLinear, normedLinear, plainLinear } from "../ops/decodeLinear.ts";
import { embedding } from "../ops/gather.ts";
import { linear, packedLinear } from "../ops/linear.ts";
import { layerNorm, rmsNorm } from "../ops/norm.ts";
import { cast } from "../ops/pointwise.ts";
import { concat } from "../ops/shape.ts";
import { bytesOf, type DType } from "../tensor/dtype.ts";
import { gpu } from "../tensor/engine.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { addLowRank, type LowRank } from "./lora.ts";
import { adjoin, Module, parameter } from "./module.ts";

/** A parameter of normal random numbers of deviation `std`. */
export function normal(shape: readonly number[], std: number): Tensor {
  return parameter(scope(() => randn(shape).mul(std)));
}

/** A parameter of uniform random numbers in ±bound. */
function uniform(shape: readonly number[], bound: number): Tensor {
  return parameter(
    scope(() =>
      rand(shape)
        .mul(2 * bound)
        .sub(bound),
    ),
  );
}

export interface LinearOptions {
  bias?: boolean;
  /** Deviation of the initial weights; PyTorch's uniform ±1/√in where silent. */
  std?: number;
}

/** x · weightᵀ + bias: [..., in] to [..., out]. */
export class Linear extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;
  /** A low-rank product beside the weight's; not among the layer's parameters. */
  adapter: LowRank | undefined;

  constructor(inFeatures: number, outFeatures: number, { bias = true, std }: LinearOptions = {}) {
    super();
    const bound = 1 / Math.sqrt(inFeatures);
    this.weight =
      std === undefined ? uniform([outFeatures, inFeatures], bound) : normal([outFeatures, inFeatures], std);
    this.bias = bias
      ? std === undefined
        ? uniform([outFeatures], bound)
        : parameter(zeros([outFeatures]))
      : undefined;
  }

  /** `residual` [..., out] is added in the same launch. */
  forward(x: Tensor, residual?: Tensor): Tensor {
    const y = this.bias ? linear(x, this.weight, this.bias, residual) : plainLinear(x, this.weight, residual);
    return addLowRank(y, x, [this]);
  }
}

/** Linear layers of one input, side by side (see `packedLinear`), of x normalised first if `norm` is given; all have biases, or none. */
export function packedForward(x: Tensor, layers: readonly Linear[], norm?: RMSNorm): Tensor {
  const weights = layers.map(({ weight }) => weight);
  if (norm && layers.every(({ adapter }) => !adapter)) return addBiases(normedLinear(x, norm, weights), layers);
  const h = norm ? norm.forward(x) : x;
  return addBiases(addLowRank(packedLinear(h, weights), h, layers), layers);
}

function addBiases(y: Tensor, layers: readonly Linear[]): Tensor {
  const biases = layers.flatMap(({ bias }) => bias ?? []);
  return biases.length ? y.add(cast(concat(biases, 0), y.dtype)) : y;
}

/** Rows of a table by index: i32 [...] to [..., D]. */
export class Embedding extends Module {
  readonly weight: Tensor;

  constructor(numEmbeddings: number, embeddingDim: number, { std = 1 }: { std?: number } = {}) {
    super();
    this.weight = normal([numEmbeddings, embeddingDim], std);
  }

  /** `dtype`: of the result; f32 where silent. */
  forward(index: Tensor, dtype?: DType): Tensor {
    return embedding(index, this.weight, dtype);
  }
}

/** See `rmsNorm`. */
export class RMSNorm extends Module {
  readonly weight: Tensor;

  constructor(
    size: number,
    readonly eps = 1e-6,
  ) {
    super();
    this.weight = parameter(ones([size]));
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, { eps: this.eps });
  }
}

/** See `layerNorm`. */
export class LayerNorm extends Module {
  readonly weight: Tensor;
  readonly bias: Tensor | undefined;

  constructor(
    size: number,
    private readonly options: { eps?: number; bias?: boolean } = {},
  ) {
    super();
    this.weight = parameter(ones([size]));
    this.bias = options.bias === false ? undefined : parameter(zeros([size]));
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { eps: this.options.eps });
  }
}

/** Zeroes elements with probability p while training. */
export class Dropout extends Module {
  constructor(readonly p = 0.5) {
    super();
  }

  forward(x: Tensor): Tensor {
    return dropout(x, this.p, this.training);
  }
}

/** down(silu(gate(x)) · up(x)): the MLP of Llama and Qwen, under their names. Shazeer 2020, arXiv:2002.05202 */
export class SwiGLU extends Module {
  readonly gate_proj: Linear;
  readonly up_proj: Linear;
  readonly down_proj: Linear;

  constructor(hidden: number, intermediate: number, { std, downStd = std }: { std?: number; downStd?: number } = {}) {
    super();
    this.gate_proj = new Linear(hidden, intermediate, { bias: false, std });
    this.up_proj = new Linear(hidden, intermediate, { bias: false, std });
    this.down_proj = new Linear(intermediate, hidden, { bias: false, std: downStd });
    adjoin([this.gate_proj.weight, this.up_proj.weight]);
  }

  /**
   * x is normalised first if `norm` is given, and `residual`, of x's shape, added to what comes out. Gate and up are one product where
   * the adapter binds a buffer of both, otherwise it goes as the definition reads.
   */
  forward(x: Tensor, residual?: Tensor, norm?: RMSNorm): Tensor {
    const { gate_proj: gate, up_proj: up, down_proj: down } = this;
    const bytes = (x.size / x.dim(-1)) * 2 * gate.weight.shape[0] * bytesOf(x.dtype);
    if (bytes <= gpu().device.limits.maxStorageBufferBindingSize) {
      const adapted = gate.adapter || up.adapter;
      const gated = adapted
        ? swiglu(packedForward(x, [gate, up], norm))
        : gatedLinear(x, [gate.weight, up.weight], norm);
      return down.forward(gated, residual);
    }
    const h = norm ? norm.forward(x) : x;
    return down.forward(gate.forward(h).silu().mul(up.forward(h)), residual);
  }
}

/** Modules one after the other; plain functions of a tensor may stand between them. */
export class Sequential extends Module {
  readonly layers: (Module | ((x: Tensor) => Tensor))[];

  constructor(...layers: (Module | ((x: Tensor) => Tensor))[]) {
    super();
    this.layers = layers;
  }

  forward(x: Tensor): Tensor {
    return this.layers.reduce(
      (h, layer) => (layer instanceof Module ? (layer.forward(h as never) as Tensor) : layer(h)),
      x,
    );
  }
}
