import type { Tuning } from "../../framework/device/kernel.ts";

/** At most `count` points of a tuning space that together hold as many pairs of values of two parameters as can be, always the same ones. */
export function coveringPoints<T extends Tuning>(space: readonly T[], count: number): T[] {
  const pairsOf = (point: T) => {
    const values = Object.entries(point).map(([name, value]) => `${name} ${value}`);
    return values.flatMap((a, i) => values.slice(i + 1).map((b) => `${a}, ${b}`));
  };
  const seen = new Set<string>();
  const chosen: T[] = [];
  while (chosen.length < count) {
    const gain = (point: T) => pairsOf(point).filter((pair) => !seen.has(pair)).length;
    const best = space.reduce((a, b) => (gain(b) > gain(a) ? b : a));
    if (gain(best) === 0) break;
    for (const pair of pairsOf(best)) seen.add(pair);
    chosen.push(best);
  }
  return chosen;
}
