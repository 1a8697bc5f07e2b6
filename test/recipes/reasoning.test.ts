import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { linearCrossEntropy, loadTokenizer, Tensor } from "../../framework/index.ts";
import { followsTemplate, isRight, tagIds, tagWeights } from "../../recipes/shared/reasoning.ts";
import { worst } from "../ops/support.ts";

interface Reference {
  logits: number[][];
  labels: number[];
  mask: number[];
  tag_ids: number[];
  tag_weight: number;
  loss: number;
  grad: number[][];
}

const shared = join(import.meta.dir, "../../../shared/reference");

test.skipIf(!existsSync(shared))("the loss with weighted tags equals PyTorch in value and gradient", async () => {
  const reference = JSON.parse(readFileSync(join(shared, "losses.json"), "utf8")).reason_tags as Reference;
  const { logits, mask, grad } = reference;
  const x = Tensor.from(logits.flat(), { shape: [8, 13] });
  x.requiresGrad = true;
  const identity = Float32Array.from({ length: 169 }, (_, i) => Number(i % 14 === 0));
  const labels = Int32Array.from(reference.labels, (label, i) => (mask[i] ? label : -100));
  const weights = tagWeights(labels, new Set(reference.tag_ids), reference.tag_weight);
  const loss = linearCrossEntropy(x, Tensor.from(identity, { shape: [13, 13] }), Tensor.from(labels), {
    rowWeights: Tensor.from(weights),
  });
  expect(Math.abs((await loss.item()) / reference.loss - 1)).toBeLessThan(1e-5);
  loss.backward();
  expect(worst(await (x.grad as unknown as Tensor).data(), grad.flat())).toBeLessThan(1e-5);
});

test.skipIf(!existsSync(shared))("a tag may be one token or several", () => {
  const tokenizer = loadTokenizer(join(shared, "minimind-tokenizer"));
  const ids = tagIds(tokenizer);
  for (const tag of ["<think>", "</answer>"])
    for (const id of tokenizer.encode(tag, { addSpecialTokens: false })) expect(ids.has(id)).toBe(true);
});

test("a reply follows the template with both parts, once each, and nothing else", () => {
  const good = "<think>\n7+8=15\n</think>\n<answer>\n15\n</answer>";
  expect(followsTemplate(good)).toBe(true);
  expect(followsTemplate(good.replace("</think>\n", "</think>\n\n"))).toBe(true);
  for (const bad of [
    "15",
    `So: ${good}`,
    `${good} 15`,
    good.replace("\n</answer>", ""),
    good.replace("7+8=15", ""),
    good.replace("15\n</answer>", "<think>\n</answer>"),
    `${good}\n${good}`,
  ])
    expect(followsTemplate(bad)).toBe(false);
});

test("an answer is what stands between its tags, or the last number of a reply without them", () => {
  const asked = { messages: [], tools: [], reply: "<think>\n7+8=15\n</think>\n<answer>\n15\n</answer>" };
  for (const question of [asked, { ...asked, answer: "15" }]) {
    expect(isRight(question.reply, question)).toBe(true);
    for (const right of ["7+8=15。", "15", "<think>\n99\n</think>\n<answer>\n15\n</answer>"])
      expect(isRight(right, question)).toBe(true);
    for (const wrong of ["7+8=16.", "", "15 is not 16", "<think>\n15\n</think>\n<answer>\n51\n</answer>"])
      expect(isRight(wrong, question)).toBe(false);
  }
});
