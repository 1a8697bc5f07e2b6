import { expertCombine } from "../../kernels/expertCombine.ts";
import { expertDots } from "../../kernels/expertDots.ts";
import { expertGather } from "../../kernels/expertGather.ts";
import { expertPlan } from "../../kernels/expertPlan.ts";
import { topK as topKKernel } from "../../kernels/topK.ts";
import { isRecording } from "../autograd/graph.ts";
import { op } from "../autograd/op.ts";
import { DTypeError, ShapeError } from "../device/errors.ts";
import { gpu } from "../tensor/engine.ts";
import { expectShape, showShape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { elementwise, expectFloat } from "./elementwise.ts";
import { gather } from "./gather.ts";
import { add, cast, div } from "./pointwise.ts";
import { sum } from "./reduce.ts";
import { expand } from "./shape.ts";
import { softmax } from "./softmax.ts";

/** Which rows tokens take for their experts' sake; made by {@link planExperts}, outside the graph. */
export interface ExpertPlan {
  tokens: number;
  experts: number;
  /** Experts of a token. Choice j of token t is slot t · choices + j. */
  choices: number;
  /** Rows of a tile, all of one expert. */
  tile: number;
  rows: number;
  /** u32 [rows / tile]: each tile's expert. */
  tiles: Tensor;
  /** What brings slots in order of their experts; absent where each slot is a tile of its own and stays where it is. */
  order?: { count: Tensor; rowOf: Tensor; slotOf: Tensor; segments: Tensor };
}

/** Tokens' choice among experts. */
export interface Routing {
  /** f32 [T, experts]: softmax over the experts. */
  probabilities: Tensor;
  /** f32 [T, choices]: what each chosen expert's result is multiplied by; absent where that is always 1. */
  weights?: Tensor;
  plan: ExpertPlan;
}

/**
 * The indices of the k largest of each row, largest first; of equals the first.
 * @param x f32 [rows, columns]
 * @returns u32 [rows, k], outside the graph
 */
export function topK(x: Tensor, k: number): Tensor {
  if (x.dtype !== "f32") throw new DTypeError(`topK: x is ${x.dtype}, expected f32`);
  if (x.rank !== 2 || !(k >= 1 && k <= x.shape[1]))
    throw new ShapeError(`topK: x is ${showShape(x.shape)}, expected [rows, columns] with at least k = ${k} columns`);
  const [rows, columns] = x.shape;
  const index = Tensor.empty([rows, k], "u32", "topK");
  gpu().launch(topKKernel, { x: x.view(), index: index.view() }, {}, { rows, columns, k });
  return index;
}

/**
 * Routes tokens by softmax to the `choices` likeliest experts each, all in f32. No token is dropped. Shazeer et al. 2017, arXiv:1701.06538
 * @param logits    [T, experts], f32 or f16
 * @param normalise the weights of a token's experts sum to 1 (over their sum + 1e-20)
 * @param counted   the balance loss is wanted (default)
 */
export function route(
  logits: Tensor,
  { choices, normalise, counted = true }: { choices: number; normalise: boolean; counted?: boolean },
): Routing {
  expectFloat("route", logits, "logits");
  const probabilities = softmax(cast(logits, "f32"));
  const index = topK(probabilities, choices);
  const plan = planExperts(index, logits.shape[1], { counted });
  if (normalise && choices === 1) return { probabilities, plan };
  const chosen = gather(probabilities, -1, index);
  const weights = normalise ? div(chosen, add(sum(chosen, -1, { keepdim: true }), 1e-20)) : chosen;
  return { probabilities, weights, plan };
}

/** Tiles of a GPU's products, and of a CPU's, where rows are many. */
const MOST_ROWS = { software: 32, portable: 128, matrix: 128 };
/** Expert's rows are in whole quads, so that products along them take four at a time. */
const LEAST_ROWS = 4;

/**
 * Where each slot's row lies, expert by expert, tiles filled up with rows that count for nothing: a quarter of an expert's share at most on
 * average. Few rows that need neither gradient nor count stay where they are.
 * @param index u32 [T, choices], all below `experts`
 * @param tile  rows of a tile, a multiple of 4, or 1 for slots that stay; by the number of rows and the adapter where silent
 */
export function planExperts(
  index: Tensor,
  experts: number,
  { tile, counted = false }: { tile?: number; counted?: boolean } = {},
): ExpertPlan {
  const [tokens, choices] = index.shape;
  const slots = index.size;
  const fitting = 2 ** Math.floor(Math.log2(Math.max(1, slots / (4 * experts))));
  const rows = tile ?? Math.min(fitting, MOST_ROWS[gpu().target.class]);
  if (rows < LEAST_ROWS && (tile || !(counted || isRecording())))
    return { tokens, experts, choices, tile: 1, rows: slots, tiles: index.alias([slots]) };
  return sorted(index, { tokens, experts, choices, tile: Math.max(rows, LEAST_ROWS) });
}

function sorted(index: Tensor, sizes: Pick<ExpertPlan, "tokens" | "experts" | "choices" | "tile">): ExpertPlan {
  const { experts, tile } = sizes;
  const slots = index.size;
  const rows = tile * Math.min(slots, Math.floor((slots + experts * (tile - 1)) / tile));
  const make = (size: number, name: string) => Tensor.empty([size], "u32", name);
  const tiles = make(rows / tile, "experts.tiles");
  const order = {
    count: make(experts, "experts.count"),
    rowOf: make(slots, "experts.rowOf"),
    slotOf: make(rows, "experts.slotOf"),
    segments: make(experts + 1, "experts.segments"),
  };
  const views = Object.fromEntries(Object.entries({ ...order, tiles }).map(([name, t]) => [name, t.view()]));
  gpu().launch(expertPlan, { expert: index.view(), ...views }, { experts, tile }, { slots, rows });
  return { ...sizes, rows, tiles, order };
}

/**
 * Tokens to the rows of their experts: [T, D] to [plan.rows, D].
 * @throws ShapeError where x has another number of tokens
 */
export function toExperts(x: Tensor, plan: ExpertPlan): Tensor {
  expectShape("toExperts", "x", x.shape, [plan.tokens, x.dim(-1)]);
  const { order, choices, tokens, rows } = plan;
  if (order) return gatherRows(x, order.slotOf, order.rowOf, { choices, tokens, rows });
  return choices === 1 ? x : expand(x.reshape(tokens, 1, -1), [tokens, choices, x.dim(-1)]).reshape(rows, -1);
}

type Rows = Pick<ExpertPlan, "choices" | "tokens" | "rows">;

const gatherRows = op("toExperts", {
  value: (x: Tensor, slotOf: Tensor, rowOf: Tensor, sizes: Rows) => ({
    y: launchGather(x, slotOf, undefined, sizes),
    saved: { rowOf, sizes },
  }),
  gradient: (dy, { rowOf, sizes }, { take }) => [launchCombine(dy, { rowOf, residual: take(0) }, sizes)],
});

/**
 * The experts' results back to their tokens: the sum of each token's rows times `weights`, plus `residual`.
 * @param x        [plan.rows, D], f32 or f16
 * @param weights  f32 [T, choices]; 1 where silent
 * @param residual [T, D], x's dtype
 * @returns        [T, D], x's dtype
 */
export function fromExperts(x: Tensor, plan: ExpertPlan, weights?: Tensor, residual?: Tensor): Tensor {
  const { order, choices, tokens, rows } = plan;
  expectFloat("fromExperts", x);
  expectShape("fromExperts", "x", x.shape, [rows, x.dim(-1)]);
  if (weights) expectShape("fromExperts", "weights", weights.shape, [tokens, choices]);
  if (residual) expectShape("fromExperts", "residual", residual.shape, [tokens, x.dim(-1)]);
  return combineRows(x, weights, residual, order?.rowOf, order?.slotOf, { choices, tokens, rows });
}

const combineRows = op("fromExperts", {
  value(
    x: Tensor,
    weights: Tensor | undefined,
    residual: Tensor | undefined,
    rowOf: Tensor | undefined,
    slotOf: Tensor | undefined,
    sizes: Rows,
  ) {
    const y = launchCombine(x, { rowOf, weights, residual: residual && cast(residual, x.dtype) }, sizes);
    return { y, saved: { x: weights && x, weights, rowOf, slotOf, sizes, skips: residual?.dtype } };
  },
  gradient(dy, { x, weights, rowOf, slotOf, sizes, skips }, { needs }) {
    if (!rowOf || !slotOf) throw new ShapeError("fromExperts: rows that stay where they are have no gradient");
    const dx = needs(0) ? launchGather(dy, slotOf, weights, sizes) : null;
    const dweights = weights ? [x && needs(1) ? launchDots(x, dy, rowOf, sizes) : null] : [];
    return [dx, ...dweights, skips ? cast(dy, skips) : null];
  },
});

function launchGather(x: Tensor, slotOf: Tensor, weight: Tensor | undefined, { choices, rows }: Rows): Tensor {
  const columns = x.dim(-1);
  const y = Tensor.empty([rows, columns], x.dtype, "experts.x");
  const views = { x: x.view(), slotOf: slotOf.view(), ...(weight ? { weight: weight.view() } : {}), y: y.view() };
  gpu().launch(expertGather, views, { columns, dtype: x.dtype, choices, weighted: weight !== undefined }, { rows });
  return y;
}

function launchCombine(
  x: Tensor,
  { rowOf, weights, residual }: { rowOf?: Tensor; weights?: Tensor; residual?: Tensor },
  { choices, tokens }: Rows,
): Tensor {
  const columns = x.dim(-1);
  const y = Tensor.empty([tokens, columns], x.dtype, "fromExperts");
  const views = {
    x: x.view(),
    ...(rowOf ? { rowOf: rowOf.view() } : {}),
    ...(weights ? { weight: weights.view() } : {}),
    ...(residual ? { residual: residual.view() } : {}),
    y: y.view(),
  };
  const kinds = { weighted: weights !== undefined, residual: residual !== undefined, sorted: rowOf !== undefined };
  gpu().launch(expertCombine, views, { columns, dtype: x.dtype, choices, ...kinds }, { tokens });
  return y;
}

function launchDots(x: Tensor, dy: Tensor, rowOf: Tensor, { choices, tokens }: Rows): Tensor {
  const columns = x.dim(-1);
  const y = Tensor.empty([tokens, choices], "f32", "fromExperts.dweights");
  const views = { x: x.view(), dy: dy.view(), rowOf: rowOf.view(), y: y.view() };
  gpu().launch(expertDots, views, { columns, dtype: x.dtype, choices }, { slots: tokens * choices });
  return y;
}

/**
 * experts · Σₑ loadₑ · mean probabilityₑ, where load is the number of times that an expert is chosen per token: 1 · choices where all share
 * alike, more where few get much. Fedus et al. 2021 (Switch), arXiv:2101.03961
 * @param scale multiplies it
 * @returns one f32
 */
export function balanceLoss({ probabilities, plan }: Routing, scale = 1): Tensor {
  if (!plan.order) throw new ShapeError("balanceLoss: rows that stay where they are are not counted");
  const { tokens, experts } = plan;
  return balance(probabilities, plan.order.count, (scale * experts) / (tokens * tokens));
}

const balance = op("balanceLoss", {
  value(probabilities: Tensor, count: Tensor, scale: number) {
    const loads = elementwise("balanceLoss", "a * f32(b) * u.s", [sum(probabilities, 0), count], {
      dtype: "f32",
      s: scale,
    });
    return { y: sum(loads), saved: { count, scale, shape: probabilities.shape } };
  },
  gradient(dy, { count, scale, shape }, { take }) {
    const more = take(0);
    const options = { dtype: "f32", s: scale } as const;
    if (more) return [elementwise("balanceLoss.dx", "a * f32(b) * u.s + c", [dy, count, more], options)];
    return [expand(elementwise("balanceLoss.dx", "a * f32(b) * u.s", [dy, count], options), shape)];
  },
});
