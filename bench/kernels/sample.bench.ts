import { sample } from "../../kernels/sample.ts";
import { kernelCase } from "../case.ts";

const choices = {
  greedy: { sharpness: 0, topK: 0, topP: 0 },
  plain: { sharpness: 1.44, topK: 0, topP: 0 },
  "top-k 40, top-p 0.9": { sharpness: 1.44, topK: 40, topP: 0.9 * 2 ** 32 },
};

export default [1, 64].flatMap((batch) =>
  Object.entries(choices).map(([name, choice]) => {
    const vocabulary = 6400;
    const logits = Float32Array.from({ length: batch * vocabulary }, (_, i) => 6 * Math.sin(i * 12.9898));
    const rows = new Int32Array(batch);
    return kernelCase(
      sample,
      `${batch} × ${vocabulary}, ${name}`,
      { dtype: "f32", greedy: name === "greedy", penalty: false },
      { logits, token: rows, out: rows, lengths: rows, made: rows },
      { batch, vocabulary, penalty: 1, seedLow: 1, seedHigh: 0, ...choice },
    );
  }),
);
