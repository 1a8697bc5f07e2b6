import { setDefaultTimeout } from "bun:test";
import { openGpu } from "../../framework/device/open.ts";
import { runOn } from "../ops/support.ts";
import { referenceCases } from "./referenceCases.ts";

setDefaultTimeout(120_000); // on a fresh machine the tiles of a GPU take seconds to compile

// The kernels that any GPU gets: tiles in shared memory, rows walked by many lanes.
const gpu = await openGpu();
gpu.target = { ...gpu.target, class: "portable" };
runOn(gpu);
referenceCases("dense");
referenceCases("moe", { half: false }); // its f16 tiles are the dense model's, and compile for a minute
