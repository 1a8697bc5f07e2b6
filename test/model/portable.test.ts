import { afterAll, beforeAll, setDefaultTimeout } from "bun:test";
import { openGpu } from "../../framework/device/open.ts";
import { useGpu } from "../../framework/tensor/engine.ts";
import { gpu as usual } from "../ops/support.ts";
import { referenceCases } from "./referenceCases.ts";

setDefaultTimeout(120_000); // on a fresh machine the tiles of a GPU take seconds to compile

// The kernels that any GPU gets: tiles in shared memory, rows walked by many lanes.
const gpu = await openGpu();
gpu.target = { ...gpu.target, class: "portable" };
beforeAll(() => useGpu(gpu));
afterAll(() => useGpu(usual));
for (const name of ["dense", "moe"] as const) referenceCases(name);
