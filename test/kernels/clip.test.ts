import { describe, expect, test } from "bun:test";
import { clip, GROW_AFTER } from "../../kernels/clip.ts";
import { runKernel, worst } from "./launch.ts";

const decide = async (squares: number[], loss: number, maxNorm: number) => {
  const arrays = {
    squares: Float32Array.from(squares),
    loss: Float32Array.of(loss),
    control: Float32Array.of(9, 9, 9, 2),
  };
  return (await runKernel(clip, arrays, ["control"], { scaled: false }, { n: squares.length, maxNorm })).control;
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

describe("with scaled gradients", () => {
  const scaled = async (squares: number[], loss: number, scaler: number[]) => {
    const arrays = {
      squares: Float32Array.from(squares),
      loss: Float32Array.of(loss),
      control: Float32Array.of(9, 9, 9, 2),
      scaler: Float32Array.from(scaler),
    };
    const shape = { scaled: true };
    const out = await runKernel(clip, arrays, ["control", "scaler"], shape, { n: squares.length, maxNorm: 1 });
    return { control: [...out.control], scaler: [...out.scaler] };
  };

  test("norm and factor are of the gradient without its scale", async () => {
    const { control, scaler } = await scaled([9 * 64, 16 * 64], 1, [8, 0, 0, 0]);
    expect(worst(control, [1 / 5 / 8, 5, 1, 3])).toBeLessThan(1e-6);
    expect(scaler).toEqual([8, 1, 0, 0]);
  });

  test("an overflow halves the scale, but never below 1, and is counted", async () => {
    const { control, scaler } = await scaled([Number.POSITIVE_INFINITY], 1, [8, 5, 0, 0]);
    expect([control[2], control[3]]).toEqual([0, 2]);
    expect(scaler).toEqual([4, 0, 1, 1]);
    expect((await scaled([Number.NaN], 1, [1, 5, 2, 0])).scaler).toEqual([1, 0, 3, 1]);
  });

  test("a loss that is not finite is no matter of scale", async () => {
    expect((await scaled([1], Number.NaN, [8, 5, 0, 1])).scaler).toEqual([8, 5, 0, 0]);
  });

  test("many steps without an overflow double it", async () => {
    expect((await scaled([1], 1, [8, GROW_AFTER - 1, 1, 0])).scaler).toEqual([16, 0, 1, 0]);
  });
});
