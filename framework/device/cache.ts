/** Where what can be made again is kept: token shards, measured tunings. `MICROMIND_CACHE`, or `.cache/micromind`. */
export const cacheFolder = (): string => process.env.MICROMIND_CACHE || ".cache/micromind";
