import { expect, test } from "bun:test";
import { clip } from "../../kernels/clip.ts";
import { runKernel, worst } from "./launch.ts";

const decide = async (squares: number[], loss: number, maxNorm: number) => {
  const arrays = {
    squares: Float32Array.from(squares),
    loss: Float32Array.of(loss),
    control: Float32Array.of(9, 9, 9, 2),
  };
  return (await runKernel(clip, arrays, ["control"], {}, { n: squares.length, maxNorm })).control;
};

test("a norm above the limit is scaled to it", async () => {
  expect(worst(await decide([9, 16], 1, 1), [1 / 5, 5, 1, 3])).toBeLessThan(1e-6);
});

test("a norm below it, or no limit, leaves the gradient alone", async () => {
  expect([...(await decide([0.25], 1, 1))]).toEqual([1, 0.5, 1, 3]);
  expect([...(await decide([400], 1, 0))]).toEqual([1, 20, 1, 3]);
});

test.each([
  [[Number.NaN], 1],
  [[Number.POSITIVE_INFINITY], 1],
  [[1], Number.NaN],
  [[1], Number.NEGATIVE_INFINITY],
])("squares %p and loss %p do not count", async (squares, loss) => {
  const control = await decide(squares, loss, 1);
  expect([control[2], control[3]]).toEqual([0, 2]);
});
