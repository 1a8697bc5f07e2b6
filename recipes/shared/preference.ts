/** Losses of preferences between two replies to one prompt, as functions of the replies' log-probabilities. */
import { noGrad, type Tensor } from "../../framework/index.ts";

/** A number for each pair's chosen and rejected reply, f32 [B] each. */
export interface Replies {
  chosen: Tensor;
  rejected: Tensor;
}

export interface PreferenceLoss {
  /** One f32, the mean over the pairs. */
  loss: Tensor;
  /** What the model implicitly rewards each reply with: the loss raises the chosen one's above the rejected one's. */
  rewards: Replies;
}

/**
 * Log-probabilities of whole replies from those of their tokens.
 * @param logProbs f32 [2B, T], 0 outside the replies; the chosen replies' rows come first, then the rejected ones' in the same order
 * @param labels   i32 [2B, T], −100 outside the replies
 * @param average  the mean over a reply's tokens instead of the sum
 * @param pairs    how many of the B pairs count, the first ones; all where silent
 */
export function replyLogProbs(
  logProbs: Tensor,
  labels: Tensor,
  { average = false, pairs = logProbs.shape[0] / 2 } = {},
): Replies {
  const sums = logProbs.sum(1);
  const all = average ? sums.div(labels.ne(-100).sum(1).clamp({ min: 1 })) : sums;
  const [chosen, rejected] = all.split(all.size / 2).map((side) => side.slice(0, 0, pairs));
  return { chosen, rejected };
}

/**
 * Direct preference optimization: −log σ(β·h), h = log (π/π_ref)(chosen) − log (π/π_ref)(rejected). Rafailov et al. 2023,
 * arXiv:2305.18290, equation 7. With label smoothing ε a preference is taken to be the wrong way round with that probability:
 * −(1−ε)·log σ(β·h) − ε·log σ(−β·h). Mitchell 2023, "A note on DPO with noisy preferences"
 * @param policy, reference summed log-probabilities; the reference's take no gradient
 */
export function dpoLoss(
  policy: Replies,
  reference: Replies,
  { beta, labelSmoothing = 0 }: { beta: number; labelSmoothing?: number },
): PreferenceLoss {
  const rewards = againstReference(policy, reference, beta);
  return { loss: smoothed(marginOf(rewards), labelSmoothing), rewards };
}

/**
 * Identity preference optimization: (h − 1/(2β))², which has a least value at a finite h where −log σ has none. Azar et al. 2023,
 * arXiv:2310.12036, equation 17, whose τ is β here.
 * @param policy, reference averaged log-probabilities, as TRL takes them, so that long replies do not weigh more; the paper's are sums
 */
export function ipoLoss(policy: Replies, reference: Replies, { beta }: { beta: number }): PreferenceLoss {
  const rewards = againstReference(policy, reference, beta);
  const h = marginOf(rewards).div(beta);
  return {
    loss: h
      .sub(1 / (2 * beta))
      .pow(2)
      .mean(),
    rewards,
  };
}

/**
 * Simple preference optimization, without a reference: −log σ(β·(log π(chosen)/|chosen| − log π(rejected)/|rejected|) − γ). Meng et al.
 * 2024, arXiv:2405.14734, equation 6. Label smoothing as in {@link dpoLoss}.
 * @param policy averaged log-probabilities
 * @param gamma  the margin that the chosen reward is to keep
 */
export function simpoLoss(
  policy: Replies,
  { beta, gamma, labelSmoothing = 0 }: { beta: number; gamma: number; labelSmoothing?: number },
): PreferenceLoss {
  const rewards = { chosen: policy.chosen.mul(beta), rejected: policy.rejected.mul(beta) };
  return { loss: smoothed(marginOf(rewards).sub(gamma), labelSmoothing), rewards };
}

/**
 * What a batch came to, one f32 each: `accuracy`, the share of pairs whose chosen reply has the larger log-probability;
 * `rewardAccuracy`, the share whose chosen reply has the larger reward; the mean margin of the rewards, and both rewards' means.
 */
export function preferenceFigures(policy: Replies, rewards: Replies) {
  return noGrad(() => {
    const [chosenReward, rejectedReward] = [rewards.chosen.mean(), rewards.rejected.mean()];
    const ahead = ({ chosen, rejected }: Replies) => chosen.gt(rejected).mean();
    const margin = chosenReward.sub(rejectedReward);
    return { accuracy: ahead(policy), margin, rewardAccuracy: ahead(rewards), chosenReward, rejectedReward };
  });
}

function againstReference(policy: Replies, reference: Replies, beta: number): Replies {
  return {
    chosen: policy.chosen.sub(reference.chosen).mul(beta),
    rejected: policy.rejected.sub(reference.rejected).mul(beta),
  };
}

const marginOf = ({ chosen, rejected }: Replies): Tensor => chosen.sub(rejected);

/** Binary cross-entropy of margins, whose label is 1 − ε. */
function smoothed(margin: Tensor, epsilon: number): Tensor {
  const right = margin.logSigmoid().mean().neg();
  if (epsilon === 0) return right;
  return right.mul(1 - epsilon).sub(margin.neg().logSigmoid().mean().mul(epsilon));
}
