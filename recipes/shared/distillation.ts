/** White-box distillation: a student learns a teacher's whole distribution, not the one token that the data shows. */
import {
  cast,
  checkpoint,
  crossEntropy,
  linear,
  logSoftmax,
  noGrad,
  op,
  stack,
  Tensor,
} from "../../framework/index.ts";

/** Elements of logits that exist at a time, for each of the two models. */
const PIECE = 1 << 22;
const IGNORED = -100;

/** Hidden states [..., D], and the parameter [V, D] that makes logits of them; D is each model's own, V is both's. */
export interface Output {
  hidden: Tensor;
  weight: Tensor;
}

export interface DistillationOptions {
  /** Share of the data's labels in the loss; the rest is the teacher's. */
  alpha: number;
  /** Flattens both distributions, so that what the teacher thinks unlikely counts too. */
  temperature: number;
  /** What the gradients come multiplied by; an optimizer of f16 precision settles it (`optimizer.gradientScale`). */
  gradientScale?: Tensor;
}

/**
 * α · CE + (1 − α) · T² · KL(teacher‖student), both distributions at temperature T in KL, means over the labelled rows. T² keeps the
 * size of KL's gradient as T grows. Hinton et al. 2015, arXiv:1503.02531
 *
 * Only labelled rows get logits, a piece at a time, made again for the gradient: those of a batch never exist whole. They are f32.
 * @param teacher made under `noGrad`; nothing flows back to it
 * @param labels  one for each row of hidden states, −100 where none counts
 * @returns the loss, and its two parts as they are before the weights
 */
export function distillation(
  student: Output,
  teacher: Output,
  labels: Int32Array,
  { alpha, temperature, gradientScale }: DistillationOptions,
): { loss: Tensor; ce: Tensor; kl: Tensor } {
  const { index, targets, labelled, size } = labelledRows(labels, student.weight.shape[0]);
  const at = Tensor.from(index);
  const rows = ({ hidden }: Output) => cast(hidden.reshape(-1, hidden.dim(-1)).indexSelect(0, at), "f32");
  const [s, t] = [rows(student), noGrad(() => rows(teacher))];
  const target = Tensor.from(targets);
  const parts = Array.from({ length: index.length / size }, (_, i) => {
    const piece = (x: Tensor) => x.slice(0, i * size, (i + 1) * size);
    const [label, taught] = [piece(target), noGrad(() => piece(t))];
    return checkpoint(
      (h, q, y) =>
        sums(
          linear(h, student.weight),
          noGrad(() => linear(q, teacher.weight)),
          y,
          temperature,
        ),
      ...[piece(s), taught, label],
    );
  });
  const means = parts.reduce((a, b) => a.add(b)).div(Math.max(1, labelled));
  const [ce, kl] = [means.select(0, 0), means.select(0, 1)];
  const loss = ce.mul(alpha).add(kl.mul((1 - alpha) * temperature ** 2));
  return { loss: gradientScale ? steeper(loss, gradientScale) : loss, ce: ce.detach(), kl: kl.detach() };
}

/** [Σ CE, Σ KL] of rows of logits [n, V]; a row without a label counts in neither. */
function sums(student: Tensor, teacher: Tensor, labels: Tensor, temperature: number): Tensor {
  const ce = crossEntropy(student, labels, { reduction: "sum" });
  const logQ = noGrad(() => logSoftmax(teacher.div(temperature)));
  const logP = logSoftmax(student.div(temperature));
  const kl = logQ.exp().mul(logQ.sub(logP)).sum(-1);
  return stack([ce, kl.mul(labels.ne(IGNORED)).sum()]);
}

/**
 * The labelled rows in pieces of one size. The last is filled up with rows that do not count: with the same shapes at each step,
 * kernels are compiled once.
 */
function labelledRows(labels: Int32Array, vocabulary: number) {
  const size = Math.max(1, Math.min(Math.floor(PIECE / vocabulary), Math.ceil(labels.length / 4)));
  const rows = [...labels.keys()].filter((row) => labels[row] !== IGNORED);
  const padded = size * Math.max(1, Math.ceil(rows.length / size));
  const index = Int32Array.from({ length: padded }, (_, i) => rows[i] ?? 0);
  const targets = index.map((row, i) => (i < rows.length ? labels[row] : IGNORED));
  return { index, targets, labelled: rows.length, size };
}

/** x itself, but its gradient comes times `scale`, one f32. */
const steeper = op("steeper", {
  value: (x: Tensor, scale: Tensor) => ({ y: x.alias(), saved: { scale } }),
  gradient: (dy, { scale }) => [dy.mul(scale), null],
});
