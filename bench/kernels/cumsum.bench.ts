import { cumsum } from "../../kernels/cumsum.ts";
import { kernelCase } from "../case.ts";

const [outer, length] = [1024, 512];
const bytes = 4 * outer * length;

export default [
  kernelCase(
    cumsum,
    `${outer} rows of ${length}`,
    { dtype: "f32", reverse: false },
    { x: bytes, y: bytes },
    { outer, length, inner: 1 },
  ),
];
