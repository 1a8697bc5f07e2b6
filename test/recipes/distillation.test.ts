import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gradcheck, noGrad, scope, Tensor } from "../../framework/index.ts";
import { distillation, nextTokens } from "../../recipes/shared/distillation.ts";
import { gpu, input, leftBehind, worst } from "../ops/support.ts";

interface Reference {
  student_logits: number[][];
  teacher_logits: number[][];
  labels: number[];
  temperature: number;
  alpha: number;
  ce: number;
  kl: number;
  loss: number;
  grad: number[][];
}

const file = join(import.meta.dir, "../../../shared/reference/losses.json");
const identity = (n: number) =>
  Tensor.from(
    Float32Array.from({ length: n * n }, (_, i) => Number(i % (n + 1) === 0)),
    { shape: [n, n] },
  );
const leaf = (values: number[][]) => {
  const x = Tensor.from(values.flat(), { shape: [values.length, values[0].length] });
  x.requiresGrad = true;
  return x;
};

for (const name of ["distill_T1.0_a0.5", "distill_T2.0_a0.3"])
  test.skipIf(!existsSync(file))(`equals PyTorch in value and gradient: ${name}`, async () => {
    const reference = JSON.parse(readFileSync(file, "utf8"))[name] as Reference;
    const { alpha, temperature } = reference;
    const weight = identity(11);
    const hidden = leaf(reference.student_logits);
    const teacher = { hidden: leaf(reference.teacher_logits).detach(), weight };
    const options = { alpha, temperature };
    const { loss, ce, kl } = distillation({ hidden, weight }, teacher, Int32Array.from(reference.labels), options);
    for (const [value, expected] of [
      [loss, reference.loss],
      [ce, reference.ce],
      [kl.mul(temperature ** 2), reference.kl],
    ] as const)
      expect(Math.abs((await value.item()) / expected - 1)).toBeLessThan(1e-5);
    loss.backward();
    expect(worst(await (hidden.grad as Tensor).data(), reference.grad.flat())).toBeLessThan(1e-5);
  });

/** A student of width 3 and a teacher of width 5 over 7 tokens. */
const pair = (n: number) => ({
  student: { hidden: input([n, 3], 1), weight: input([7, 3], 2) },
  teacher: { hidden: input([n, 5], 3).detach(), weight: input([7, 5], 4).detach() },
});

test("passes gradcheck in hidden states and output layer, by pieces", async () => {
  const { student, teacher } = pair(9);
  const labels = Int32Array.of(-100, 3, 0, -100, 6, 2, 2, 1, 5); // three pieces of three rows, the last filled up
  const options = { alpha: 0.4, temperature: 1.5 };
  const loss = (hidden: Tensor, weight: Tensor) => distillation({ hidden, weight }, teacher, labels, options).loss;
  await gradcheck(loss, [student.hidden, student.weight]);
});

test("taught rows without a label count in KL alone", async () => {
  const { student, teacher } = pair(5);
  const [labels, taught] = [Int32Array.of(-100, 3, -100, -100, 6), Int32Array.of(2, 3, -100, 1, 6)];
  const options = { alpha: 0.4, temperature: 1.5 };
  const figures = async (l: Int32Array, t?: Int32Array) => {
    const { ce, kl } = distillation(student, teacher, l, { ...options, taught: t });
    return [await ce.item(), await kl.item()];
  };
  const [both, labelled, all] = [await figures(labels, taught), await figures(labels), await figures(taught)];
  expect(both[0]).toBeCloseTo(labelled[0], 5);
  expect(both[1]).toBeCloseTo(all[1], 5);
  const loss = (hidden: Tensor, weight: Tensor) =>
    distillation({ hidden, weight }, teacher, labels, { ...options, taught }).loss;
  await gradcheck(loss, [student.hidden, student.weight]);
});

test("a teacher has something to say where its document goes on", () => {
  const batch = { tokens: Int32Array.of(5, 6, 7, 8, 9, 0, 0), positions: Int32Array.of(0, 1, 2, 0, 1, 0, 1) };
  expect([...nextTokens(batch, 0)]).toEqual([6, 7, -100, 9, -100, -100, -100]);
});

test("multiplies gradients by the scale, not the loss", async () => {
  const labels = Int32Array.of(1, -100, 4, 6);
  const run = async (gradientScale?: Tensor) => {
    const { student, teacher } = pair(4);
    const { loss } = distillation(student, teacher, labels, { alpha: 0.5, temperature: 2, gradientScale });
    loss.backward();
    return { loss: await loss.item(), grad: [...(await (student.weight.grad as Tensor).data())] };
  };
  const [plain, scaled] = [await run(), await run(Tensor.from([8]))];
  expect(scaled.loss).toBe(plain.loss);
  expect(scaled.grad).toEqual(plain.grad.map((g) => g * 8));
});

test("a batch without labels gives 0 and no gradient", async () => {
  const { student, teacher } = pair(4);
  const { loss } = distillation(student, teacher, new Int32Array(4).fill(-100), { alpha: 0.5, temperature: 2 });
  loss.backward();
  expect(await loss.item()).toBe(0);
  expect([...(await (student.hidden.grad as Tensor).data())].every((g) => g === 0)).toBe(true);
});

test("a teacher like the student is no pull, and half precision stays near", async () => {
  const { student } = pair(8);
  const labels = Int32Array.from({ length: 8 }, (_, i) => i % 7);
  const frozen = { hidden: student.hidden.detach(), weight: student.weight.detach() };
  const options = { alpha: 0, temperature: 2 };
  const { loss } = distillation(student, frozen, labels, options);
  expect(Math.abs(await loss.item())).toBeLessThan(1e-6);
  if (!gpu.target.f16) return;
  const { teacher } = pair(8);
  const ce = async (hidden: Tensor) =>
    noGrad(() => distillation({ ...student, hidden }, teacher, labels, options).kl).item();
  expect(await ce(student.hidden.cast("f16"))).toBeCloseTo(await ce(student.hidden), 2);
});

test("leaves no buffer behind", async () => {
  const labels = Int32Array.of(1, -100, 4, 6);
  expect(
    await leftBehind(() =>
      scope(() => {
        const { student, teacher } = pair(4);
        distillation(student, teacher, labels, { alpha: 0.5, temperature: 2 }).loss.backward();
        for (const { grad } of [student.hidden, student.weight]) grad?.dispose();
      }),
    ),
  ).toBe(0);
});
