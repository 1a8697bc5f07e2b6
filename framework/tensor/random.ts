/** The generator's state: everything that a resumed run needs to draw what the uninterrupted one would have drawn. */
export interface RandomState {
  seed: number;
  draw: number;
}

let state: RandomState = { seed: 0, draw: 0 };

/** Starts the random numbers of this process anew from `seed` (an integer up to 2^53). */
export function manualSeed(seed: number): void {
  if (!Number.isSafeInteger(seed)) throw new RangeError(`manualSeed: ${seed} is not an integer`);
  state = { seed, draw: 0 };
}

export function randomState(): RandomState {
  return { ...state };
}

export function setRandomState(saved: RandomState): void {
  state = { ...saved };
}

/** The words that name the next draw; no two draws under one seed share them. */
export function nextDraw(): { seedLow: number; seedHigh: number; drawLow: number; drawHigh: number } {
  const [seedLow, seedHigh] = words(state.seed);
  const [drawLow, drawHigh] = words(state.draw++);
  return { seedLow, seedHigh, drawLow, drawHigh };
}

/** An integer of up to 53 bits as two words. */
export function words(n: number): [low: number, high: number] {
  return [n >>> 0, Math.floor(n / 2 ** 32) >>> 0];
}

/** A small generator of numbers in [0, 1) for the host (mulberry32, by Tommy Ettinger, public domain). */
export function hostRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
