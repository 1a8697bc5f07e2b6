import { noGrad } from "../autograd/graph.ts";
import { MicroMindError } from "../device/errors.ts";
import { Linear, LowRank, type LowRankOptions } from "../nn/index.ts";
import { updateInPlace } from "../ops/elementwise.ts";
import { scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { CausalLM } from "./causalLM.ts";

/** An adapter that does not fit its model, or cannot be used as asked. */
export class AdapterError extends MicroMindError {}

/** The projections that adapters are for. */
export const loraTargets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

export interface LoraOptions extends LowRankOptions {
  /** Of {@link loraTargets}, for all layers, or whole paths such as `model.layers.0.self_attn.q_proj`. */
  targets: readonly string[];
}

/** The adapter whose values a model's answers contain at the moment. */
const active = new WeakMap<CausalLM, LoraAdapter>();

/** Layers that may have an adapter, by path. Experts have none: their products are grouped, and go past their layers. */
export function adaptableLayers(model: CausalLM): Map<string, Linear> {
  const found = [...model.namedModules()].filter(
    (entry): entry is [string, Linear] =>
      entry[1] instanceof Linear &&
      loraTargets.some((name) => entry[0].endsWith(`.${name}`)) &&
      !entry[0].includes(".experts."),
  );
  return new Map(found);
}

/** Those of {@link loraTargets} that a model has: a model of experts has those of its attention alone. */
export const adaptableNames = (model: CausalLM): string[] => namesOf(adaptableLayers(model));

/**
 * Low-rank pairs for layers of one model, which stays as it is (freeze it to train the adapter alone). To be of effect it is attached,
 * as for training, or merged into the weights, which makes answers as fast as the model's own; one adapter of a model at a time.
 * Hu et al. 2021, arXiv:2106.09685
 */
export class LoraAdapter {
  /** By the path of the layer. */
  readonly pairs = new Map<string, LowRank>();
  private readonly layers: Map<string, Linear>;
  /** While merged: the weights as they were. */
  private originals: Map<Linear, Tensor> | undefined;

  /** Random A, zero B. @throws AdapterError where a target is not in the model, or rank, alpha or dropout are out of range */
  constructor(
    readonly model: CausalLM,
    readonly options: LoraOptions,
  ) {
    const { rank, alpha, dropout = 0, targets } = options;
    if (!(Number.isInteger(rank) && rank > 0 && alpha > 0 && dropout >= 0 && dropout < 1))
      throw new AdapterError(
        `lora: rank is ${rank}, alpha ${alpha} and dropout ${dropout}, expected a whole number of 1 or more, a number above 0, and 0 to 1 (exclusive)`,
      );
    const all = adaptableLayers(model);
    const matches = (path: string, target: string) => path === target || path.endsWith(`.${target}`);
    const unknown = targets.find((target) => ![...all.keys()].some((path) => matches(path, target)));
    if (unknown !== undefined || targets.length === 0)
      throw new AdapterError(
        `lora: targets ${unknown === undefined ? "are empty" : `hold ${JSON.stringify(unknown)}`}, expected some of ${namesOf(all).join(", ")}`,
      );
    this.layers = new Map([...all].filter(([path]) => targets.some((target) => matches(path, target))));
    for (const [path, { weight }] of this.layers) this.pairs.set(path, new LowRank(weight, options));
  }

  /** A and B by `<path>.lora_A.weight` and `<path>.lora_B.weight`; all A first, so that those of one product lie together. */
  namedParameters(): Map<string, Tensor> {
    const named = (side: "A" | "B") =>
      [...this.pairs].map(([path, pair]) => [`${path}.lora_${side}.weight`, pair[side]] as const);
    return new Map([...named("A"), ...named("B")]);
  }

  numParameters(): number {
    return [...this.namedParameters().values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** The targets as names where those say it, else as paths. */
  targets(): string[] {
    const all = [...adaptableLayers(this.model).keys()];
    const whole = namesOf(this.layers).every((name) =>
      all.every((path) => !path.endsWith(`.${name}`) || this.pairs.has(path)),
    );
    return whole ? namesOf(this.layers) : [...this.pairs.keys()];
  }

  /** Adds the low-rank products to the layers' own from now on. @throws AdapterError where another adapter is in use */
  attach(): this {
    this.claim();
    for (const [path, layer] of this.layers) layer.adapter = this.pairs.get(path);
    return this;
  }

  /** Adds them to the weights, keeping a copy of what those were. @throws AdapterError where another adapter is in use */
  merge(): this {
    this.claim();
    const originals = new Map<Linear, Tensor>();
    noGrad(() => {
      for (const [path, layer] of this.layers) {
        originals.set(layer, scope(() => layer.weight.clone()).keep());
        scope(() => overwrite(layer.weight, "old + a", (this.pairs.get(path) as LowRank).delta()));
      }
    });
    this.originals = originals;
    return this;
  }

  /** Takes the adapter out of use, attached or merged; the model is then what it was before, bit for bit. */
  remove(): this {
    if (active.get(this.model) !== this) return this;
    active.delete(this.model);
    for (const layer of this.layers.values()) layer.adapter = undefined;
    for (const [{ weight }, original] of this.originals ?? []) {
      if (!weight.disposed) noGrad(() => overwrite(weight, "a", original));
      original.dispose();
    }
    this.originals = undefined;
    return this;
  }

  /** Takes it out of use and frees it. */
  dispose(): void {
    this.remove();
    for (const pair of this.pairs.values()) pair.dispose();
  }

  private claim(): void {
    const other = active.get(this.model);
    if (other && other !== this)
      throw new AdapterError("lora: another adapter is in use on this model; remove it first");
    this.remove();
    active.set(this.model, this);
  }
}

/** Last parts of paths, each once. */
function namesOf(layers: ReadonlyMap<string, Linear>): string[] {
  return [...new Set([...layers.keys()].map((path) => path.slice(path.lastIndexOf(".") + 1)))];
}

/** Changes a weight in place, with its f16 copy where it has one. */
function overwrite(weight: Tensor, expr: string, operand: Tensor): void {
  updateInPlace(expr, weight, [operand]);
  if (weight.half) updateInPlace("a", weight.half, [weight]);
}
