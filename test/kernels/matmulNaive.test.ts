import { expect, test } from "bun:test";
import { matmulLaunch } from "../../kernels/matmul.ts";
import { matmulNaive } from "../../kernels/matmulNaive.ts";
import { runKernel } from "./launch.ts";
import { call, errorOf, layouts } from "./matmulReference.ts";

test("[[1, 2], [3, 4]] · [[5, 6], [7, 8]] is [[19, 22], [43, 50]]", async () => {
  const { shape, uniforms } = matmulLaunch(call("NN", 2, 2, 2));
  const arrays = { a: Float32Array.of(1, 2, 3, 4), b: Float32Array.of(5, 6, 7, 8), c: new Float32Array(4) };
  const { c } = await runKernel(matmulNaive, arrays, ["c"], shape, uniforms);
  expect([...c]).toEqual([19, 22, 43, 50]);
});

for (const layout of layouts)
  test(`the naive ${layout} equals float64, with a batch, bias and accumulation`, async () => {
    const spec = call(layout, 9, 13, 17, { batch: 2, bias: true, accumulate: true, alpha: 0.5 });
    expect(await errorOf(matmulNaive, spec)).toBeLessThan(1e-5);
  });
