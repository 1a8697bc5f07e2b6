import { setDefaultTimeout, test } from "bun:test";
import { openGpu } from "../../framework/device/open.ts";
import { runOn } from "../ops/support.ts";
import { referenceCases } from "./referenceCases.ts";

setDefaultTimeout(600_000); // llvmpipe compiles such tiles for a minute

// The kernels that an adapter with matrix units gets. Also llvmpipe's, from Mesa 26 on, under MICROMIND_GPU=dawn.
const gpu = await openGpu();
gpu.target = { ...gpu.target, class: "matrix" };
runOn(gpu);
if (gpu.target.matrix) {
  referenceCases("dense");
  referenceCases("moe");
} else test.skip("PyTorch's models on matrix units", () => {});
