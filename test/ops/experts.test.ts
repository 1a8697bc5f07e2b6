import { describe, expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { noGrad } from "../../framework/autograd/graph.ts";
import { adjoin, parameter } from "../../framework/nn/module.ts";
import { zeros } from "../../framework/ops/create.ts";
import { expertLinear } from "../../framework/ops/expertLinear.ts";
import { balanceLoss, fromExperts, planExperts, route, toExperts, topK } from "../../framework/ops/experts.ts";
import { cast } from "../../framework/ops/pointwise.ts";
import { concat } from "../../framework/ops/shape.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { gpu, input, worst } from "./support.ts";

/** Five tokens' two choices among three experts. */
const chosen = [2, 0, 1, 2, 2, 1, 0, 1, 2, 0];
const index = () => Tensor.from(Uint32Array.from(chosen), { shape: [5, 2] });
const plan = (tile: number) => planExperts(index(), 3, { tile });

describe("route", () => {
  const logits = () => input([6, 4], 3, { scale: 2 });

  test("takes the likeliest experts, with softmax's weights, summing to 1 where asked for", async () => {
    const { probabilities, weights } = route(logits(), { choices: 2, normalise: false });
    const best = Array.from({ length: 6 }, async (_, r) =>
      Array.from(await probabilities.slice(0, r, r + 1).data())
        .sort((a, b) => b - a)
        .slice(0, 2),
    );
    const expected = (await Promise.all(best)).flat();
    expect(worst(await (weights as Tensor).data(), expected)).toBeLessThan(1e-6);
    const normal = route(logits(), { choices: 2, normalise: true }).weights as Tensor;
    expect(worst(await normal.sum(-1).data(), new Float32Array(6).fill(1))).toBeLessThan(1e-6);
  });

  test("a single choice that is normalised has weight 1, which needs no launch", () => {
    expect(route(logits(), { choices: 1, normalise: true }).weights).toBeUndefined();
    expect(route(logits(), { choices: 1, normalise: false }).weights?.shape).toEqual([6, 1]);
  });

  test("its weights pass gradcheck", async () => {
    for (const normalise of [true, false])
      await gradcheck((x) => route(x, { choices: 2, normalise }).weights as Tensor, [logits()], { eps: 3e-3 });
  });

  test("the balance loss is experts · Σ load · mean probability, and passes gradcheck", async () => {
    const routing = route(logits(), { choices: 2, normalise: true });
    const [all, count] = [await routing.probabilities.data(), (await routing.plan.order?.count.data()) ?? []];
    let sum = 0;
    for (const [i, p] of all.entries()) sum += (4 * 0.5 * (count[i % 4] / 6) * p) / 6;
    expect(Math.abs((await balanceLoss(routing, 0.5).item()) / sum - 1)).toBeLessThan(1e-6);
    const both = (x: Tensor) => {
      const own = route(x, { choices: 2, normalise: true });
      return concat([balanceLoss(own, 10).reshape(1), (own.weights as Tensor).reshape(-1)], 0);
    };
    await gradcheck(both, [logits()], { eps: 3e-3 });
  });

  test("names what it can't take", () => {
    expect(() => topK(zeros([2, 3]), 4)).toThrow(
      "topK: x is [2, 3], expected [rows, columns] with at least k = 4 columns",
    );
    expect(() => topK(Tensor.from(Int32Array.of(1, 2), { shape: [1, 2] }), 1)).toThrow("topK: x is i32, expected f32");
  });
});

describe("rows by expert", () => {
  test("to the experts and back is each token times the sum of its weights", async () => {
    const [x, weights] = [input([5, 7], 1), input([5, 2], 2)];
    const expected = await x
      .mul(weights.sum(-1, { keepdim: true }))
      .add(x)
      .data();
    for (const tile of [1, 4, 8])
      expect(worst(await fromExperts(toExperts(x, plan(tile)), plan(tile), weights, x).data(), expected)).toBeLessThan(
        1e-6,
      );
  });

  test("pass gradcheck, both ways", async () => {
    const p = plan(4);
    await gradcheck((x) => fromExperts(toExperts(x, p), p), [input([5, 3], 1)]);
    const [x, weights, residual] = [input([5, 3], 1), input([5, 2], 2), input([5, 3], 3)];
    await gradcheck((a, w, r) => fromExperts(toExperts(a, p), p, w, r), [x, weights, residual]);
  });

  test("rows that need no gradient stay where they are, if they are few", () => {
    expect(noGrad(() => planExperts(index(), 3)).tile).toBe(1);
    expect(planExperts(index(), 3).tile).toBe(4);
  });

  test("names shapes that do not fit", () => {
    expect(() => toExperts(zeros([4, 3]), plan(4))).toThrow("toExperts: x is [4, 3], expected [5, 3]");
    expect(() => fromExperts(zeros([4, 3]), plan(1))).toThrow("fromExperts: x is [4, 3], expected [10, 3]");
    expect(() => expertLinear(zeros([10, 3]), [zeros([2, 3])], plan(1))).toThrow(
      "expertLinear: x is [10, 3] and weights [2, 3], …, expected [10, in] and equally many [out, in] for each of 3 experts",
    );
  });
});

describe("expertLinear", () => {
  /** Two layers of each expert side by side, of every slot, in plain float64. */
  async function reference(x: Tensor, weights: Tensor[]): Promise<number[]> {
    const [data, ...w] = await Promise.all([x, ...weights].map((t) => t.data()));
    const k = x.dim(-1);
    return chosen.flatMap((e, slot) =>
      weights.slice(0, 2).flatMap(({ shape: [n] }, layer) =>
        Array.from({ length: n }, (_, row) => {
          let sum = 0;
          for (let i = 0; i < k; i++) sum += data[(slot >> 1) * k + i] * w[2 * e + layer][row * k + i];
          return sum;
        }),
      ),
    );
  }
  const weightsOf = (n: number, k: number) => Array.from({ length: 6 }, (_, i) => input([i % 2 ? 2 * n : n, k], i + 2));
  /** Each slot's result, whatever the plan's rows. */
  const bySlot = (x: Tensor, w: Tensor[], tile: number) => {
    const p = { ...plan(tile) };
    return fromExperts(expertLinear(toExperts(x, p), w, p), { ...p, tokens: 10, choices: 1 });
  };

  test.each([1, 4, 8])("equals float64 in tiles of %p", async (tile) => {
    const [x, weights] = [input([5, 6], 1), weightsOf(3, 6)];
    expect(worst(await bySlot(x, weights, tile).data(), await reference(x, weights))).toBeLessThan(1e-5);
  });

  test.skipIf(!gpu.target.f16)("takes f16 rows", async () => {
    const [x, weights] = [input([5, 8], 1), weightsOf(4, 8)];
    expect(worst(await bySlot(cast(x, "f16"), weights, 4).data(), await reference(x, weights))).toBeLessThan(2e-3);
  });

  test("passes gradcheck", async () => {
    await gradcheck((x, ...w) => bySlot(x, w, 4), [input([5, 3], 1), ...weightsOf(2, 3)]);
  });

  test("adds to gradients where they lie, in one launch, and gives the same bits each time", async () => {
    const x = input([5, 16], 1);
    const apart = weightsOf(8, 16);
    bySlot(x, apart, 4).sum().backward();
    const expected = await Promise.all(apart.map((w) => (w.grad as Tensor).data()));
    const joined = adjoin(weightsOf(8, 16).map((w) => parameter(w.detach().clone())));
    const grads = adjoin(joined.map((w) => zeros(w.shape).keep()));
    joined.forEach((w, i) => {
      w.grad = grads[i];
    });
    let before = gpu.stats.dispatches;
    const p = plan(4);
    const rows = toExperts(x.detach(), p);
    before = gpu.stats.dispatches;
    const y = expertLinear(rows, joined, p);
    expect(gpu.stats.dispatches - before).toBe(1);
    y.dispose();
    const bits = async () => {
      for (const g of grads) g.write(new Float32Array(g.size));
      bySlot(x.detach(), joined, 4).sum().backward();
      return Promise.all(grads.map((g) => g.data()));
    };
    const first = await bits();
    for (const [i, g] of first.entries()) expect(worst(g, expected[i])).toBeLessThan(1e-6);
    expect(await bits()).toEqual(first);
  });
});
