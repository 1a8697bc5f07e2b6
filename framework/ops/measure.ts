import { noGrad } from "../autograd/graph.ts";
import { gpu } from "../tensor/engine.ts";
import { randomState, setRandomState } from "../tensor/random.ts";
import { scope } from "../tensor/scope.ts";
import { randn } from "./create.ts";
import { matmul } from "./matmul.ts";
import { add } from "./pointwise.ts";

/** What an adapter reaches at best here: the yardstick for all other kernels. */
export interface AdapterRates {
  /** f32 matrix multiplication, FLOP/s. */
  flops: number;
  /** Element-wise addition of large tensors, bytes/s. */
  bytes: number;
}

/** The best of a few timed repetitions, in seconds a call. */
async function best(call: () => void, repeat: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 4; round++) {
    await gpu().finish();
    const start = performance.now();
    for (let i = 0; i < repeat; i++) call();
    await gpu().finish();
    if (round > 0) least = Math.min(least, (performance.now() - start) / repeat / 1000); // the first compiles
  }
  return least;
}

/** Measures the adapter's matmul rate, and with `bytes` its memory rate too, in a fraction of a second. */
export async function measureRates({ bytes = false } = {}): Promise<AdapterRates> {
  const software = gpu().target.class === "software";
  const n = software ? 512 : 2048;
  const state = randomState();
  const rates = { flops: 0, bytes: 0 };
  const [a, b] = noGrad(() => scope(() => [randn([n, n]), randn([n, n])]));
  rates.flops = (2 * n ** 3) / (await best(() => noGrad(() => scope(() => void matmul(a, b))), software ? 2 : 20));
  if (bytes) {
    const size = software ? 1 << 22 : 1 << 24;
    const x = noGrad(() => scope(() => randn([size])));
    rates.bytes = (12 * size) / (await best(() => noGrad(() => scope(() => void add(x, x))), 4));
    x.dispose();
  }
  a.dispose();
  b.dispose();
  setRandomState(state);
  return rates;
}
