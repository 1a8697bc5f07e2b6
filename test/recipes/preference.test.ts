import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import {
  dpoLoss,
  ipoLoss,
  type PreferenceLoss,
  preferenceFigures,
  type Replies,
  replyLogProbs,
  simpoLoss,
} from "../../recipes/shared/preference.ts";
import { input, worst } from "../ops/support.ts";

const file = join(import.meta.dir, "../../../shared/reference/losses.json");
if (!existsSync(file)) console.log("skip: PyTorch's reference numbers are not beside the project");

interface DpoReference {
  policy_logps: number[][];
  ref_logps: number[][];
  mask: number[][];
  beta: number;
  loss: number;
  grad: number[][];
}

describe.skipIf(!existsSync(file))("dpoLoss", () => {
  test.each(["dpo_beta0.1", "dpo_beta0.5"])("equals PyTorch's in value and gradient: %s", async (name) => {
    const ref: DpoReference = JSON.parse(readFileSync(file, "utf8"))[name];
    const mask = Tensor.from(ref.mask);
    const labels = mask.sub(1).mul(100).cast("i32");
    const logps = Tensor.from(ref.policy_logps);
    logps.requiresGrad = true;
    const policy = replyLogProbs(logps.mul(mask), labels);
    const { loss } = dpoLoss(policy, replyLogProbs(Tensor.from(ref.ref_logps).mul(mask), labels), { beta: ref.beta });
    expect(Math.abs((await loss.item()) / ref.loss - 1)).toBeLessThan(1e-5);
    loss.backward();
    expect(worst(await (logps.grad as Tensor).data(), ref.grad.flat())).toBeLessThan(1e-6);
  });
});

const sigma = (x: number) => 1 / (1 + Math.exp(-x));
const B = 5;
const given = (seed: number): Replies => ({
  chosen: input([B], seed, { scale: 3, shift: -4 }),
  rejected: input([B], seed + 1, { scale: 3, shift: -4 }),
});

/** Each loss by its formula, of one pair's numbers: policy and reference, chosen and rejected. */
const cases: {
  name: string;
  loss: (policy: Replies, reference: Replies) => PreferenceLoss;
  formula: (pc: number, pr: number, rc: number, rr: number) => number;
}[] = [
  {
    name: "DPO",
    loss: (policy, reference) => dpoLoss(policy, reference, { beta: 0.3 }),
    formula: (pc, pr, rc, rr) => -Math.log(sigma(0.3 * (pc - pr - (rc - rr)))),
  },
  {
    name: "DPO with label smoothing",
    loss: (policy, reference) => dpoLoss(policy, reference, { beta: 0.3, labelSmoothing: 0.2 }),
    formula(pc, pr, rc, rr) {
      const margin = 0.3 * (pc - pr - (rc - rr));
      return -0.8 * Math.log(sigma(margin)) - 0.2 * Math.log(sigma(-margin));
    },
  },
  {
    name: "IPO",
    loss: (policy, reference) => ipoLoss(policy, reference, { beta: 0.4 }),
    formula: (pc, pr, rc, rr) => (pc - pr - (rc - rr) - 1 / (2 * 0.4)) ** 2,
  },
  {
    name: "SimPO",
    loss: (policy) => simpoLoss(policy, { beta: 2, gamma: 0.7 }),
    formula: (pc, pr) => -Math.log(sigma(2 * pc - 2 * pr - 0.7)),
  },
];

test.each(cases)("$name equals its formula in float64 and passes gradcheck", async ({ loss, formula }) => {
  const [policy, reference] = [given(1), given(3)];
  const numbers = await Promise.all(
    [policy.chosen, policy.rejected, reference.chosen, reference.rejected].map((t) => t.data()),
  );
  const each = Array.from({ length: B }, (_, i) => {
    const [pc, pr, rc, rr] = numbers.map((column) => column[i]);
    return formula(pc, pr, rc, rr);
  });
  const mean = each.reduce((a, b) => a + b) / B;
  expect(Math.abs((await loss(policy, reference).loss.item()) / mean - 1)).toBeLessThan(1e-5);
  await gradcheck((chosen, rejected) => loss({ chosen, rejected }, reference).loss, [policy.chosen, policy.rejected]);
});

test("a reply's log-probability is its tokens' sum, or their mean over the tokens that count", async () => {
  const logProbs = Tensor.from([
    [-1, -2, 0],
    [-3, 0, 0],
    [-1, -1, -1],
    [0, 0, 0],
  ]);
  const labels = Tensor.from(Int32Array.of(5, 6, -100, 7, -100, -100, 1, 2, 3, -100, -100, -100), { shape: [4, 3] });
  const read = async ({ chosen, rejected }: Replies) => [await chosen.tolist(), await rejected.tolist()];
  expect(await read(replyLogProbs(logProbs, labels))).toEqual([
    [-3, -3],
    [-3, 0],
  ]);
  expect(await read(replyLogProbs(logProbs, labels, { average: true }))).toEqual([
    [-1.5, -3],
    [-1, 0],
  ]);
  expect(await read(replyLogProbs(logProbs, labels, { pairs: 1 }))).toEqual([[-3], [-3]]);
});

test("rewards are measured against the reference, and equal ones count as wrong", async () => {
  const policy = { chosen: Tensor.from([-1, -2, -5]), rejected: Tensor.from([-2, -3, -3]) };
  const reference = { chosen: Tensor.from([-3, -2, -4]), rejected: Tensor.from([-3, -3, -3]) };
  const { accuracy, margin, rewardAccuracy, chosenReward, rejectedReward } = preferenceFigures(
    policy,
    dpoLoss(policy, reference, { beta: 0.5 }).rewards,
  );
  const found = await Promise.all(
    [accuracy, margin, rewardAccuracy, chosenReward, rejectedReward].map((t) => t.item()),
  );
  expect(worst(found, [2 / 3, 0, 1 / 3, 1 / 6, 1 / 6])).toBeLessThan(1e-6);
});
