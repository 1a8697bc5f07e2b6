import { expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { arange, zeros } from "../../framework/ops/create.ts";
import { matmul } from "../../framework/ops/matmul.ts";
import { blockDiag, concat, expand, permute, reshape, slice, split, stack } from "../../framework/ops/shape.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { input } from "./support.ts";

const counting = (...shape: number[]) =>
  reshape(
    arange(
      shape.reduce((a, b) => a * b, 1),
      undefined,
      1,
      { dtype: "f32" },
    ),
    shape,
  );

test("reshape shares the buffer and works out one -1", async () => {
  const x = counting(2, 6);
  const y = x.reshape(3, -1);
  expect([...y.shape]).toEqual([3, 4]);
  expect(y.view().block).toBe(x.view().block);
  expect(() => x.reshape(5, -1)).toThrow("reshape: 12 elements do not fit shape [5, -1]");
});

test("permute and transpose reorder the axes", async () => {
  const x = counting(2, 3, 2);
  expect(await permute(x, [2, 0, 1]).tolist()).toEqual([
    [
      [0, 2, 4],
      [6, 8, 10],
    ],
    [
      [1, 3, 5],
      [7, 9, 11],
    ],
  ]);
  expect(await counting(2, 3).transpose().tolist()).toEqual([
    [0, 3],
    [1, 4],
    [2, 5],
  ]);
  expect(() => permute(x, [0, 0, 1])).toThrow("permute: axes [0, 0, 1] do not name each of 3 axes once");
  await gradcheck((t) => permute(t, [2, 0, 1]), [input([2, 3, 2])]);
});

test("permute takes seven axes that merge into few", async () => {
  const x = counting(1, 2, 1, 3, 1, 2, 1);
  const y = permute(x, [0, 5, 2, 3, 4, 1, 6]);
  const values = await y.data();
  expect([...values]).toEqual([0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]);
});

test("expand stretches axes of 1 and sums them in its gradient", async () => {
  expect(await expand(counting(2, 1), [3, 2, 2]).tolist()).toEqual(
    Array(3).fill([
      [0, 0],
      [1, 1],
    ]),
  );
  expect(() => expand(counting(2, 3), [2, 6])).toThrow("expand: [2, 3] does not stretch to [2, 6]");
  await gradcheck((t) => expand(t, [3, 2, 4]), [input([2, 1])]);
});

test("slice takes negative ends and clips", async () => {
  const x = counting(3, 4);
  expect(await slice(x, 1, -2).tolist()).toEqual([
    [2, 3],
    [6, 7],
    [10, 11],
  ]);
  expect(await slice(x, 0, 1, 2).tolist()).toEqual([[4, 5, 6, 7]]);
  expect([...slice(x, 0, 5, 9).shape]).toEqual([0, 4]);
  await gradcheck((t) => slice(t, 1, 1, 3), [input([2, 4, 2])]);
});

test("concat and stack join along any axis", async () => {
  const [a, b] = [counting(2, 2), counting(2, 1)];
  expect(await concat([a, b], 1).tolist()).toEqual([
    [0, 1, 0],
    [2, 3, 1],
  ]);
  expect(await stack([counting(2), counting(2)], -1).tolist()).toEqual([
    [0, 0],
    [1, 1],
  ]);
  expect(() => concat([a, counting(3, 3)], 1)).toThrow("concat: [2, 2] and [3, 3] differ beside axis 1");
  expect(() => concat([], 0)).toThrow("concat: the list is empty");
  await gradcheck((s, t) => concat([s, t], 0), [input([1, 3]), input([2, 3], 2)]);
  await gradcheck((s, t) => stack([s, t], 1), [input([3]), input([3], 2)]);
});

test("split gives the pieces, the last one shorter", async () => {
  const parts = split(counting(5, 2), 2);
  expect(parts.map((p) => p.shape[0])).toEqual([2, 2, 1]);
  expect(await parts[2].tolist()).toEqual([[8, 9]]);
  expect(split(counting(5), [1, 4]).map((p) => p.size)).toEqual([1, 4]);
  expect(() => split(counting(5), [1, 3])).toThrow("split: sizes [1, 3] add up to 4, expected 5");
  await gradcheck((t) => split(t, 2)[1].mul(3), [input([5])]);
});

test("tril and triu keep their triangle", async () => {
  const x = counting(3, 3);
  expect(await x.tril().tolist()).toEqual([
    [0, 0, 0],
    [3, 4, 0],
    [6, 7, 8],
  ]);
  expect(await x.triu(1).tolist()).toEqual([
    [0, 1, 2],
    [0, 0, 5],
    [0, 0, 0],
  ]);
  await gradcheck((t) => t.tril(-1), [input([2, 3, 3])]);
});

test("squeeze and unsqueeze move axes of 1", () => {
  expect([...zeros([2, 3]).unsqueeze(-1).shape]).toEqual([2, 3, 1]);
  expect([...zeros([2, 1, 3]).squeeze(1).shape]).toEqual([2, 3]);
  expect(() => zeros([2, 3]).squeeze(0)).toThrow("squeeze: axis 0 of [2, 3] is not 1");
});

test("blockDiag sets matrices down a diagonal of zeros, those of no columns too", async () => {
  const y = blockDiag([counting(2, 2), zeros([1, 0]), counting(1, 3)]);
  expect(await y.tolist()).toEqual([
    [0, 1, 0, 0, 0],
    [2, 3, 0, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 1, 2],
  ]);
  await gradcheck((a, b) => blockDiag([a, b]), [input([2, 3], 1), input([3, 1], 2)]);
  expect(() => blockDiag([zeros([2])])).toThrow("blockDiag: [2] is no matrix");
});

test("places that are none are named", () => {
  const x = zeros([2, 3]);
  expect(() => x.select(1, 3)).toThrow("select: index 3 is outside axis 1 of [2, 3]");
  expect(() => x.select(0, -3)).toThrow("select: index -3 is outside axis 0 of [2, 3]");
  expect(() => x.select(0, 0.5)).toThrow("select: index 0.5 is outside");
  expect(() => x.unsqueeze(3)).toThrow("unsqueeze: axis 3 is no place in [2, 3], which takes -3 to 2");
  expect(x.unsqueeze(-3).shape).toEqual([1, 2, 3]);
});

test("numbers that an integer does not hold are named", () => {
  expect(() => Tensor.from([1, 3e9], { dtype: "i32" })).toThrow("tensor: 3000000000 at 1 does not fit i32");
  expect(() => Tensor.from([-1], { dtype: "u32" })).toThrow("tensor: -1 at 0 does not fit u32");
  expect(() => Tensor.from([Number.NaN], { dtype: "i32" })).toThrow("tensor: NaN at 0 does not fit i32");
  expect(Tensor.from([2 ** 32 - 1], { dtype: "u32" }).size).toBe(1);
});

test("what is no shape, no dtype or no tensor is named", () => {
  const wrong = (value: unknown) => value as never;
  expect(() => zeros([2, -1])).toThrow("the shape is [2, -1], expected whole numbers from 0 on");
  expect(() => zeros([1.5])).toThrow("the shape is [1.5], expected whole numbers");
  expect(() => zeros(wrong(2))).toThrow("the shape is 2, expected a list of sizes, such as [2, 3]");
  expect(() => Tensor.from([1], { dtype: wrong("float32") })).toThrow(
    "tensor: dtype is float32, expected f32, f16, i32 or u32",
  );
  expect(() => matmul(zeros([2, 2]), wrong([[1]]))).toThrow("matmul: b is a list, expected a tensor");
  expect(() => matmul(zeros([2, 2]), wrong(undefined))).toThrow("matmul: b is undefined, expected a tensor");
});
