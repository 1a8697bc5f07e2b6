import { attentionData, attentionSize, decodeTask, parameterCount, type SizeName, stepData } from "./data.ts";
import type { Counts } from "./device.ts";
import type { AttentionResult, Peer } from "./peer.ts";
import reference from "./reference.json";

export interface Measured {
  /** Why the peer's figures are not to be believed; it is not timed then. */
  disagrees?: string;
  /** Seconds of the first call, kernels compiled. */
  first: number;
  /** Seconds of the timed calls. */
  times: number[];
  losses?: number[];
  dispatches?: number;
}

/** Calls before the timed ones, the first among them: training is judged by its fourth loss, the others by their second call. */
const WARM = { training: 4, other: 2 };
const TIMED = 5;

/** Of one size: parameters, tokens of a step, operations by 6 · parameters · tokens (attention's own not counted), and it in words. */
export function trainingWork(name: SizeName): { parameters: number; tokens: number; flops: number; text: string } {
  const data = stepData(name);
  const { layers, hidden, batch, length } = data;
  const [tokens, parameters] = [batch * length, parameterCount(data)];
  const text = `${layers} layers × ${hidden}, ${(parameters / 1e6).toFixed(1)} M parameters, batch ${batch} × ${length}`;
  return { parameters, tokens, flops: 6 * parameters * tokens, text };
}

/** Of a causal forward and backward pass over all visible pairs: 4 operations a pair and element forward, 10 backward. */
export function attentionFlops(): number {
  const { length, heads, headDim } = attentionSize;
  return (14 * heads * headDim * length * (length + 1)) / 2;
}

/**
 * Times a peer's training step, if its first loss (to 1e-3) and its loss after three updates (to 1e-2) are PyTorch's.
 * The first four steps warm up; what follows is timed until `budget` seconds are over.
 */
export async function measureTraining(peer: Peer, size: SizeName, budget: number, counts?: Counts): Promise<Measured> {
  const step = peer.trainer(stepData(size));
  const losses: number[] = [];
  const measured = await timed(
    WARM.training,
    budget,
    counts,
    async (n) => void losses.push(await step(n)),
    () => wrongLoss(losses, size),
  );
  return { ...measured, losses };
}

/** What is wrong with the losses of the first steps. */
export function wrongLoss(losses: readonly number[], size: SizeName): string | undefined {
  const expected = reference[size].losses;
  const off = ([step, tolerance]: number[]) => !(Math.abs(losses[step] - expected[step]) < tolerance);
  const wrong = [
    [0, 1e-3],
    [3, 1e-2],
  ].find(off);
  return wrong && `loss ${wrong[0]} is ${losses[wrong[0]]}, PyTorch's ${expected[wrong[0]]}`;
}

/** Times attention forward and backward, if value and gradients are PyTorch's. */
export async function measureAttention(peer: Peer, budget: number, counts?: Counts): Promise<Measured> {
  const data = attentionData();
  const attention = peer.attention(data);
  let wrong: string | undefined;
  return timed(
    WARM.other,
    budget,
    counts,
    async (n) => {
      const result = await attention(n === WARM.other);
      if (n === WARM.other) wrong = wrongAttention(result, data.dy);
    },
    () => wrong,
  );
}

/** Value, and the gradients' norms and projections on `dy`, against PyTorch's in double precision. */
function wrongAttention({ value, gradients }: AttentionResult, dy: Float32Array): string | undefined {
  const { attention: expected } = reference;
  const checks = gradients.flatMap((g, i) => {
    const [name, norm] = ["qkv"[i], expected.norms[i]];
    const projection = g.reduce((sum, x, at) => sum + x * dy[at], 0);
    return [
      [`the norm of d${name}`, Math.sqrt(g.reduce((sum, x) => sum + x * x, 0)), norm, 1e-3 * norm],
      [`d${name} · dy`, projection, expected.projections[i], 1e-2 * norm],
    ] as const;
  });
  const all = [["the value", value, expected.value, 1e-2] as const, ...checks];
  const wrong = all.find(([, got, right, tolerance]) => !(Math.abs(got - right) < tolerance));
  return wrong && `${wrong[0]} is ${wrong[1]}, PyTorch's ${wrong[2]}`;
}

/** Times generation, if the first tokens are PyTorch's: as many as are clearly the likeliest. */
export async function measureDecoding(peer: Peer, streams: number, budget: number, counts?: Counts): Promise<Measured> {
  const { size, first, tokens } = decodeTask;
  const decode = peer.decoder(stepData(size), streams);
  let made: number[][] = [];
  return timed(
    WARM.other,
    budget,
    counts,
    async () => {
      made = await decode(first, tokens);
    },
    () => wrongTokens(made, streams),
  );
}

function wrongTokens(made: readonly number[][], streams: number): string | undefined {
  const { tokens } = reference.decode;
  const right = (step: readonly number[], token: number) =>
    step?.length === streams && step.every((id) => id === token);
  const at = tokens.findIndex((token, i) => !right(made[i], token));
  return at < 0 ? undefined : `token ${at} is ${made[at]}, PyTorch's ${tokens[at]}`;
}

async function timed(
  warm: number,
  budget: number,
  counts: Counts | undefined,
  call: (n: number) => Promise<void>,
  wrong: () => string | undefined,
): Promise<Measured> {
  const start = performance.now();
  const seconds = () => (performance.now() - start) / 1000;
  const times: number[] = [];
  let dispatches = 0;
  const one = async () => {
    const [before, launched] = [seconds(), counts?.dispatches ?? 0];
    await call(times.length + 1);
    times.push(seconds() - before);
    dispatches = (counts?.dispatches ?? 0) - launched;
  };
  for (let i = 0; i < warm; i++) await one();
  const first = times[0];
  const disagrees = wrong();
  if (disagrees) return { disagrees, first, times: [] };
  while (times.length < warm + TIMED && seconds() + times[warm - 1] < budget) await one();
  // A peer too slow for more is judged by its warm-up steps after the first.
  const kept = times.length > warm ? times.slice(warm) : times.slice(1);
  return { first, times: kept, dispatches: counts && dispatches };
}
