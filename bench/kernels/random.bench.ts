import { random } from "../../kernels/random.ts";
import { kernelCase } from "../case.ts";

const n = 1 << 20;
const draw = { n, seedLow: 1, seedHigh: 0, drawLow: 1, drawHigh: 0 };

export default (["uniform", "normal"] as const).map((distribution) =>
  kernelCase(random, `${distribution}, 1M`, { distribution }, { y: 4 * n }, draw),
);
