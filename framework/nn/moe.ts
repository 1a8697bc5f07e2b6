import { swiglu } from "../ops/activation.ts";
import { expertLinear } from "../ops/expertLinear.ts";
import { balanceLoss, fromExperts, route, toExperts } from "../ops/experts.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Linear, type RMSNorm, SwiGLU } from "./layers.ts";
import { adjoin, Module } from "./module.ts";

export interface ExpertSizes {
  hidden: number;
  /** Width of each expert. */
  intermediate: number;
  experts: number;
  /** Experts beside them that every token goes through (default 0). */
  shared?: number;
  /** Experts of a token (default 1). */
  choices?: number;
  /** The weights of a token's experts sum to 1 (default). */
  normalise?: boolean;
  /** Deviation of the initial weights, and of those that write to the residual stream. */
  std?: number;
  outputStd?: number;
}

/**
 * Experts in the place of one MLP: a router sends each token to the likeliest few of them, and adds up what they make of it. Names and
 * arithmetic are those of Qwen3-MoE and MiniMind. Shazeer et al. 2017, arXiv:1701.06538; Fedus et al. 2021 (Switch), arXiv:2101.03961
 */
export class MoE extends Module {
  readonly gate: Linear;
  readonly experts: SwiGLU[];
  /** Every token's, beside the router's choice. Dai et al. 2024 (DeepSeekMoE), arXiv:2401.06066 */
  readonly shared_experts: SwiGLU[];
  private readonly routing: { choices: number; normalise: boolean };

  constructor(sizes: ExpertSizes) {
    super();
    const { hidden, intermediate, experts, shared = 0, choices = 1, normalise = true, std, outputStd = std } = sizes;
    this.routing = { choices, normalise };
    this.gate = new Linear(hidden, experts, { bias: false, std });
    const some = (length: number) =>
      Array.from({ length }, () => new SwiGLU(hidden, intermediate, { std, downStd: outputStd }));
    this.experts = some(experts);
    this.shared_experts = some(shared);
    adjoin(this.experts.flatMap((e) => [e.gate_proj.weight, e.up_proj.weight, e.down_proj.weight]));
  }

  /**
   * x [..., hidden], normalised first if `norm` is given; `residual`, of x's shape, is added to what comes out. `balance` takes the loss that
   * keeps the experts evenly used.
   */
  forward(x: Tensor, residual?: Tensor, norm?: RMSNorm, balance?: Tensor[]): Tensor {
    const [y, ...losses] = scope(() => this.routed(x, residual, norm, balance !== undefined));
    balance?.push(...losses);
    return y;
  }

  /** The result, and the balance loss where it is `counted`. */
  private routed(x: Tensor, residual: Tensor | undefined, norm: RMSNorm | undefined, counted: boolean): Tensor[] {
    const rows = (t: Tensor) => t.reshape(-1, x.dim(-1));
    const h = rows(norm ? norm.forward(x) : x);
    const routing = route(this.gate.forward(h), { ...this.routing, counted });
    const { plan, weights } = routing;
    const inner = this.experts.flatMap((e) => [e.gate_proj.weight, e.up_proj.weight]);
    const outer = this.experts.map((e) => e.down_proj.weight);
    const y = expertLinear(swiglu(expertLinear(toExperts(h, plan), inner, plan)), outer, plan);
    const chosen = fromExperts(y, plan, weights, residual && rows(residual));
    const together = this.shared_experts.reduce((sum, expert) => expert.forward(h, sum), chosen).reshape(x.shape);
    return counted ? [together, balanceLoss(routing)] : [together];
  }
}
