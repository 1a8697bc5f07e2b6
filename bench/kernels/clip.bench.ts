import { clip } from "../../kernels/clip.ts";
import { kernelCase } from "../case.ts";

export default [
  kernelCase(clip, "one decision", { scaled: false }, { squares: 16, loss: 4, control: 16 }, { n: 4, maxNorm: 1 }),
];
