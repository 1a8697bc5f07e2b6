import { describe, expect, test } from "bun:test";
import { checkpointAll } from "../../framework/autograd/checkpoint.ts";
import { noGrad } from "../../framework/autograd/graph.ts";
import { MoE, RMSNorm } from "../../framework/nn/index.ts";
import { AdamW } from "../../framework/optim/index.ts";
import { manualSeed } from "../../framework/tensor/random.ts";
import { scope } from "../../framework/tensor/scope.ts";
import type { Tensor } from "../../framework/tensor/tensor.ts";
import { collectGarbage, gpu, input, leftBehind, worst } from "../ops/support.ts";

const hidden = 16;
const intermediate = 24;

/** x + experts(x), token by token in float64. */
async function reference(moe: MoE, x: Tensor, choices: number, normalise: boolean): Promise<number[]> {
  const values = async (t: Tensor) => Array.from(await t.data());
  const times = (w: number[], v: number[]) =>
    Array.from({ length: w.length / v.length }, (_, r) => v.reduce((sum, e, c) => sum + e * w[r * v.length + c], 0));
  const gate = await values(moe.gate.weight);
  const experts = await Promise.all(
    moe.experts.map((e) => Promise.all([e.gate_proj, e.up_proj, e.down_proj].map((layer) => values(layer.weight)))),
  );
  const all = await values(x);
  return Array.from({ length: all.length / hidden }, (_, t) => {
    const h = all.slice(t * hidden, (t + 1) * hidden);
    const scores = times(gate, h).map(Math.exp);
    const best = scores.map((_, e) => e).sort((a, b) => scores[b] - scores[a]);
    const chosen = best.slice(0, choices);
    const total = (normalise ? chosen : best).reduce((sum, e) => sum + scores[e], 0);
    return chosen.reduce((y, e) => {
      const [g, up, down] = experts[e];
      const through = times(up, h);
      const inner = times(g, h).map((v, i) => (v / (1 + Math.exp(-v))) * through[i]);
      return times(down, inner).map((v, i) => y[i] + (scores[e] / total) * v);
    }, h);
  }).flat();
}

describe("MoE", () => {
  test("shared experts add what they make of every token, and learn from all", async () => {
    manualSeed(5);
    const moe = new MoE({ hidden, intermediate, experts: 4, shared: 2, std: 0.5 });
    const x = input([1, 9, hidden], 3);
    const routed = await reference(moe, x, 1, true); // x + the router's choice
    const shared = noGrad(() => moe.shared_experts.map((expert) => expert.forward(x)));
    const [first, second] = await Promise.all(shared.map((y) => y.data()));
    const expected = routed.map((v, i) => v + first[i] + second[i]);
    expect(worst(await noGrad(() => moe.forward(x, x)).data(), expected)).toBeLessThan(1e-5);
    moe.forward(x, x).sum().backward();
    for (const { down_proj } of moe.shared_experts)
      expect(Math.max(...(await down_proj.weight.grad!.data()).map(Math.abs))).toBeGreaterThan(0);
    moe.dispose();
  });

  test.each([
    [1, true],
    [1, false],
    [2, true],
    [3, false],
  ])("%p of 4 experts, normalised %p, equal float64, for few rows and for many", async (choices, normalise) => {
    manualSeed(1);
    const moe = new MoE({ hidden, intermediate, experts: 4, choices, normalise, std: 0.5 });
    for (const tokens of [2, 70]) {
      const x = input([1, tokens, hidden], tokens);
      const expected = await reference(moe, x, choices, normalise);
      expect(worst(await moe.forward(x, x).data(), expected)).toBeLessThan(1e-5);
      expect(worst(await noGrad(() => moe.forward(x, x)).data(), expected)).toBeLessThan(1e-5);
    }
    moe.dispose();
  });

  test("recomputed in the backward pass, gradients are the same, those of the balance loss too", async () => {
    manualSeed(2);
    const moe = new MoE({ hidden, intermediate, experts: 4, choices: 2, std: 0.5 });
    const norm = new RMSNorm(hidden);
    const gradients = async (run: (fn: (x: Tensor) => Tensor[], x: Tensor) => readonly Tensor[]) => {
      const x = input([3, 5, hidden], 7);
      for (const p of moe.parameters()) p.grad = undefined;
      const both = (t: Tensor) => {
        const balance: Tensor[] = [];
        return [moe.forward(t, t, norm, balance), ...balance];
      };
      scope(() => {
        const [y, balance] = run(both, x);
        y.sum().mul(0.01).add(balance.mul(3)).backward();
      });
      return Promise.all([x, ...moe.parameters()].map((p) => (p.grad as Tensor).data()));
    };
    const kept = await gradients((fn, x) => fn(x));
    await collectGarbage();
    const again = await gradients((fn, x) => checkpointAll(fn, x));
    for (const [i, g] of again.entries()) expect(g).toEqual(kept[i]);
    expect(Math.max(...kept[1].map(Math.abs))).toBeGreaterThan(0); // the router's
    moe.dispose();
  });

  test("an optimizer keeps the experts' weights where one launch reads them", async () => {
    const count = (experts: number) => {
      const moe = new MoE({ hidden, intermediate: 32, experts, std: 0.5 });
      const optimizer = new AdamW(moe.namedParameters());
      const x = input([1, 40, hidden], 3);
      const before = gpu.stats.dispatches;
      scope(() => moe.forward(x).sum().backward());
      const made = gpu.stats.dispatches - before;
      optimizer.dispose();
      moe.dispose();
      return made;
    };
    expect(count(8)).toBe(count(2));
  });

  test("leaves nothing behind", async () => {
    const moe = new MoE({ hidden, intermediate, experts: 4, choices: 2 });
    const x = input([1, 20, hidden]);
    x.requiresGrad = false;
    await collectGarbage();
    const run = () =>
      scope(() => {
        const balance: Tensor[] = [];
        moe.forward(x, x, undefined, balance).sum().add(balance[0]).backward();
      });
    run();
    expect(await leftBehind(run)).toBe(0);
    moe.dispose();
  });
});
