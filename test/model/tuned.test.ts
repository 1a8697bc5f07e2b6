import { describe, setDefaultTimeout } from "bun:test";
import {
  type Kernel,
  type Shape,
  shapeKey,
  type Target,
  tuningSpace,
  type Uniforms,
} from "../../framework/device/kernel.ts";
import { openGpu } from "../../framework/device/open.ts";
import { type Winner, Winners } from "../../framework/device/winners.ts";
import { runOn } from "../ops/support.ts";
import { referenceCases } from "./referenceCases.ts";

setDefaultTimeout(120_000); // on a fresh machine a pipeline takes seconds to compile

/** A point of each kernel's tuning space by chance, as if it had won. */
class AnyPoint extends Winners {
  constructor(private readonly seed: number) {
    super("of a test", "/nowhere");
  }

  override find(kernel: Kernel, shape: Shape, uniforms: Uniforms, target: Target): Winner | undefined {
    const shared = (tuning: object) => kernel.wgsl(shape, tuning as never).includes("var<workgroup>");
    const points = tuningSpace(kernel, shape, target).filter((p) => target.class !== "software" || !shared(p)); // those compile for minutes there
    if (points.length === 0) return undefined;
    const draw = Bun.hash.xxHash32(`${this.seed} ${kernel.name} ${shapeKey(shape)} ${JSON.stringify(uniforms)}`);
    return { sizes: [], tuning: points[draw % points.length], source: "", microseconds: 0 };
  }
}

const drawn = [
  { gpu: await openGpu(), seed: 1, names: ["dense", "moe"] },
  { gpu: await openGpu(), seed: 2, names: ["dense", "yarn"] },
] as const;
for (const { gpu, seed, names } of drawn)
  describe(`points by chance (${seed})`, () => {
    gpu.winners = new AnyPoint(seed);
    runOn(gpu);
    for (const name of names) referenceCases(name);
  });
