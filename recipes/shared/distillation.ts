/** White-box distillation: a student learns a teacher's whole distribution, not the one token that the data shows. */
import { type Batch, IGNORED } from "../../framework/data/batches.ts";
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
  /** Rows that the teacher teaches: all but those of −100, and those with labels among them. Default: the labelled ones. */
  taught?: Int32Array;
  /** What the gradients come multiplied by; an optimizer of f16 precision settles it (`optimizer.gradientScale`). */
  gradientScale?: Tensor;
}

/**
 * α · CE + (1 − α) · T² · KL(teacher‖student), both distributions at temperature T in KL; means over the labelled and over the taught
 * rows. T² keeps the size of KL's gradient as T grows. Hinton et al. 2015, arXiv:1503.02531
 *
 * Only those rows get logits, a piece at a time, made again for the gradient: those of a batch never exist whole. They are f32.
 * @param teacher made under `noGrad`; nothing flows back to it
 * @param labels  one for each row of hidden states, −100 where none counts
 * @returns the loss, and its two parts as they are before the weights
 */
export function distillation(
  student: Output,
  teacher: Output,
  labels: Int32Array,
  { alpha, temperature, taught = labels, gradientScale }: DistillationOptions,
): { loss: Tensor; ce: Tensor; kl: Tensor } {
  const { index, size, rows } = piecesOf(taught, student.weight.shape[0]);
  const at = Tensor.from(index);
  const gathered = ({ hidden }: Output) => cast(hidden.reshape(-1, hidden.dim(-1)).indexSelect(0, at), "f32");
  const [s, t] = [gathered(student), noGrad(() => gathered(teacher))];
  const label = Tensor.from(index.map((row, i) => (i < rows ? labels[row] : IGNORED)));
  const counts = Tensor.from(Float32Array.from(index, (_, i) => Number(i < rows)));
  const parts = Array.from({ length: index.length / size }, (_, i) => {
    const piece = (x: Tensor) => x.slice(0, i * size, (i + 1) * size);
    return checkpoint(
      (h, q, label, counts) => {
        const taught = noGrad(() => logSoftmax(linear(q, teacher.weight).div(temperature)));
        return sums(linear(h, student.weight), taught, { label, counts, temperature });
      },
      ...[s, t, label, counts].map(piece),
    );
  });
  const [ce, kl] = [0, 1].map((part) => parts.map((sums) => sums.select(0, part)).reduce((a, b) => a.add(b)));
  const labelled = labels.reduce((n, label) => n + Number(label !== IGNORED), 0);
  const means = { ce: ce.div(Math.max(1, labelled)), kl: kl.div(Math.max(1, rows)) };
  const loss = means.ce.mul(alpha).add(means.kl.mul((1 - alpha) * temperature ** 2));
  const figures = { ce: means.ce.detach(), kl: means.kl.detach() };
  return { loss: gradientScale ? steeper(loss, gradientScale) : loss, ...figures };
}

/**
 * [Σ CE, Σ KL] of a piece of n rows.
 * @param logits   the student's, [n, V]
 * @param taught   the teacher's log-probabilities at the temperature, [n, V]
 * @param of.label i32 [n], −100 where CE does not count
 * @param of.counts f32 [n], 0 where KL does not
 */
function sums(
  logits: Tensor,
  taught: Tensor,
  { label, counts, temperature }: { label: Tensor; counts: Tensor; temperature: number },
): Tensor {
  const ce = crossEntropy(logits, label, { reduction: "sum" });
  const kl = taught
    .exp()
    .mul(taught.sub(logSoftmax(logits.div(temperature))))
    .sum(-1);
  return stack([ce, kl.mul(counts).sum()]);
}

/**
 * The rows that are taught, in pieces of one size. The last is filled up with rows that do not count: with the same shapes at each
 * step, kernels are compiled once.
 */
function piecesOf(taught: Int32Array, vocabulary: number): { index: Int32Array; size: number; rows: number } {
  const size = Math.max(1, Math.min(Math.floor(PIECE / vocabulary), Math.ceil(taught.length / 4)));
  const rows = [...taught.keys()].filter((row) => taught[row] !== IGNORED);
  const length = size * Math.max(1, Math.ceil(rows.length / size));
  return { index: Int32Array.from({ length }, (_, i) => rows[i] ?? 0), size, rows: rows.length };
}

/** x itself, but its gradient comes times `scale`, one f32. */
const steeper = op("steeper", {
  value: (x: Tensor, scale: Tensor) => ({ y: x.alias(), saved: { scale } }),
  gradient: (dy, { scale }) => [dy.mul(scale), null],
});

/** Each position's next token, −100 where its document ends or there is padding: where a teacher has something to say. */
export const nextTokens = ({ tokens, positions }: Pick<Batch, "tokens" | "positions">, pad: number): Int32Array =>
  tokens.map((_, i) => (positions[i + 1] === positions[i] + 1 && tokens[i + 1] !== pad ? tokens[i + 1] : IGNORED));
