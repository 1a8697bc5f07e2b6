import { expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { embedding, gather, indexSelect, scatterAdd, select } from "../../framework/ops/gather.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { input } from "./support.ts";

const ints = (values: number[], shape?: number[]) => Tensor.from(Int32Array.from(values), { shape });

test("embedding picks rows, and its gradient adds up repeated ones", async () => {
  const weight = input([5, 3]);
  const rows = (await weight.tolist()) as number[][];
  const index = ints([4, 0, 4, 2], [2, 2]);
  expect(await embedding(index, weight).tolist()).toEqual([
    [rows[4], rows[0]],
    [rows[4], rows[2]],
  ]);
  await gradcheck((w) => embedding(index, w), [weight]);
});

test("an index outside gives NaN, not a neighbour's value", async () => {
  const y = await embedding(ints([0, 9]), input([5, 2])).data();
  expect(Number.isNaN(y[0])).toBe(false);
  expect(Number.isNaN(y[2])).toBe(true);
});

test("indexSelect and select take slices of any axis", async () => {
  const x = Tensor.from([
    [1, 2, 3],
    [4, 5, 6],
  ]);
  expect(await indexSelect(x, 1, ints([2, 0])).tolist()).toEqual([
    [3, 1],
    [6, 4],
  ]);
  expect(await select(x, 1, -1).tolist()).toEqual([3, 6]);
  await gradcheck((t) => indexSelect(t, 1, ints([2, 2, 0])), [input([2, 3, 2])]);
});

test("gather picks an element per position", async () => {
  const x = Tensor.from([
    [1, 2],
    [3, 4],
  ]);
  expect(await gather(x, 1, ints([1, 0], [2, 1])).tolist()).toEqual([[2], [3]]);
  expect(await gather(x, 0, ints([1, 0, 0, 1], [2, 2])).tolist()).toEqual([
    [3, 2],
    [1, 4],
  ]);
  await gradcheck((t) => gather(t, 1, ints([0, 3, 3, 1, 1, 1], [2, 3])), [input([2, 4])]);
  expect(() => gather(x, 0, ints([0, 0, 0], [1, 3]))).toThrow("gather: index is [1, 3], expected [2, 2] beside axis 0");
});

test("scatterAdd adds at the places named", async () => {
  const x = Tensor.from([10, 20, 30]);
  expect(await scatterAdd(x, 0, ints([2, 2, 0]), Tensor.from([1, 2, 3])).tolist()).toEqual([13, 20, 33]);
  await gradcheck((t, s) => scatterAdd(t, 1, ints([0, 0, 2, 1], [2, 2]), s), [input([2, 3]), input([2, 2], 2)]);
});

test("an index of floats is refused", () => {
  expect(() => embedding(Tensor.from([0.5]), input([2, 2]))).toThrow("embedding: index is f32, expected i32 or u32");
});
