/** A seeded stream of random choices: equal seeds give equal choices on every machine. */
export interface Random {
  /** A whole number from 0 to `below - 1`. */
  int(below: number): number;
  /** One of the items. */
  pick<T>(items: readonly T[]): T;
  /** A shuffled copy (Fisher and Yates). */
  shuffle<T>(items: readonly T[]): T[];
}

/** FNV-1a over the UTF-16 units: the name of a stream becomes its 32-bit seed. */
function hash(name: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) value = Math.imul(value ^ name.charCodeAt(i), 0x01000193);
  return value >>> 0;
}

/**
 * Opens the stream of a name. Each part of the corpus draws from a stream of its own, so that a part added later changes
 * nothing in the others. The generator is mulberry32 (Tommy Ettinger, public domain).
 * @throws RangeError from `int` and `pick` where there is nothing to choose from
 */
export function randomStream(name: string): Random {
  let state = hash(name);
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (t ^ (t >>> 14)) >>> 0;
  };
  const int = (below: number) => {
    if (!(below >= 1))
      throw new RangeError(`randomStream("${name}"): ${below} things to choose from, expected 1 or more`);
    return Math.floor((next() / 2 ** 32) * below);
  };
  return {
    int,
    pick: (items) => items[int(items.length)]!,
    shuffle: (items) => {
      const out = [...items];
      for (let i = out.length - 1; i > 0; i--) {
        const j = int(i + 1);
        [out[i], out[j]] = [out[j]!, out[i]!];
      }
      return out;
    },
  };
}
