/** Sampling by its definition, in double precision: the oracle of `kernels/sample.ts`. */

export interface Choice {
  temperature?: number;
  topK?: number;
  topP?: number;
  repetitionPenalty?: number;
}

/** The tokens that may be drawn with their probabilities, likeliest first, the lowest id among equals. */
export function candidates(
  logits: ArrayLike<number>,
  { temperature = 1, topK = 0, topP = 1, repetitionPenalty: penalty = 1 }: Choice,
  seen: readonly number[] = [],
): { token: number; p: number }[] {
  const adjusted = Array.from(logits, (x, id) => (!seen.includes(id) ? x : x > 0 ? x / penalty : x * penalty));
  const top = adjusted.reduce((a, b) => Math.max(a, b));
  const all = adjusted.map((x, token) => ({ token, x, p: Math.exp((x - top) / temperature) }));
  const sorted = all.sort((a, b) => (a.x === b.x ? a.token - b.token : b.x > a.x ? 1 : -1));
  const few = temperature === 0 ? sorted.slice(0, 1) : topK > 0 ? sorted.slice(0, topK) : sorted;
  const enough = topP * few.reduce((sum, c) => sum + c.p, 0);
  let sum = 0;
  const before = few.map(({ p }) => {
    sum += p;
    return sum - p;
  });
  const kept = few.filter((_, i) => topP === 1 || i === 0 || before[i] < enough);
  const total = kept.reduce((all, c) => all + c.p, 0);
  return kept.map(({ token, p }) => ({ token, p: temperature === 0 ? 1 : p / total }));
}

/** The token at a point of [0, 1) on the line of candidates. */
export function drawn(from: readonly { token: number; p: number }[], at: number): number {
  let left = at;
  for (const { token, p } of from) {
    left -= p;
    if (left < 0) return token;
  }
  return from[from.length - 1].token;
}

/** The first word of Philox4x32-10 in BigInt, as a number in [0, 1). */
export function point(row: number, step: number, seed: number): number {
  const mask = 0xffffffffn;
  let c = [BigInt(row), BigInt(step), 0n, mask];
  let k = [BigInt(seed) & mask, BigInt(seed) >> 32n];
  for (let round = 0; round < 10; round++) {
    const [p, q] = [0xd2511f53n * c[0], 0xcd9e8d57n * c[2]];
    c = [(q >> 32n) ^ c[1] ^ k[0], q & mask, (p >> 32n) ^ c[3] ^ k[1], p & mask];
    k = [(k[0] + 0x9e3779b9n) & mask, (k[1] + 0xbb67ae85n) & mask];
  }
  return Number(c[0]) / 2 ** 32;
}
