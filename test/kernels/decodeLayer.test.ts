import { expect, setDefaultTimeout, test } from "bun:test";
import { availableParallelism } from "node:os";
import { type DecodeLayerShape, decodeLayer, fitsLayer, scratchOf } from "../../kernels/decodeLayer.ts";
import { noise, runKernel, testGpu, worst } from "./launch.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const { target } = await testGpu();
const cpu = target.class === "software" && target.subgroups && [8, 16].includes(target.subgroupSize);
const [EPS, ROW_EPS, CAPACITY] = [1e-3, 1e-2, 9];

const base: DecodeLayerShape = {
  ...{ lanes: target.subgroupSize, hidden: 64, intermediate: 96, kvHeads: 2, group: 2, headDim: 16 },
  ...{ dtype: "f32", weights: "f32", norm: true },
};

/** Where the matrices and norms stand among `w` and `gains`, in elements, with a gap before the first. */
function places({ hidden, intermediate, kvHeads, group, headDim }: DecodeLayerShape) {
  const heads = group * kvHeads * headDim;
  const atOut = 32 + (heads + 2 * kvHeads * headDim) * hidden;
  const atGate = atOut + heads * hidden;
  const atDown = atGate + 2 * intermediate * hidden;
  const gains = { atNorm: 8, atMlpNorm: 8 + hidden, atQueryNorm: 8 + 2 * hidden, atKeyNorm: 8 + 2 * hidden + headDim };
  return { atQkv: 32, atOut, atGate, atDown, size: atDown + intermediate * hidden, ...gains, heads };
}

type Row = ArrayLike<number>;
const sum = (n: number, term: (i: number) => number) =>
  Array.from({ length: n }, (_, i) => term(i)).reduce((a, b) => a + b, 0);
const product = (row: Row, w: Row, at: number, n: number) =>
  Array.from({ length: n }, (_, c) => sum(row.length, (i) => row[i] * w[at + c * row.length + i]));
const normed = (row: Row, gains: Row, at: number, eps: number) => {
  const r = 1 / Math.sqrt(sum(row.length, (i) => row[i] ** 2) / row.length + eps);
  return Array.from(row, (v, i) => v * r * gains[at + i]);
};

interface Inputs {
  x: Float32Array;
  w: Float32Array;
  gains: Float32Array;
  table: Float32Array;
  k: Float32Array;
  v: Float32Array;
  length: number;
}

/** A layer by its definition, in float64. */
function reference(shape: DecodeLayerShape, { x, w, gains, table, k, v, length }: Inputs): number[] {
  const { hidden, intermediate, kvHeads, group, headDim, norm } = shape;
  const at = places(shape);
  const qkv = product(normed(x, gains, at.atNorm, ROW_EPS), w, at.atQkv, at.heads + 2 * kvHeads * headDim);
  const head = (i: number) => qkv.slice(i * headDim, (i + 1) * headDim);
  const turned = (row: number[], gain: number) => {
    const own = norm ? normed(row, gains, gain, EPS) : row;
    const half = headDim / 2;
    return own.map((_, i) => {
      const [cos, sin] = [0, 1].map((s) => table[(length * half + (i % half)) * 2 + s]);
      const [low, high] = [own[i % half], own[(i % half) + half]];
      return i < half ? low * cos - high * sin : high * cos + low * sin;
    });
  };
  const attended = Array.from({ length: group * kvHeads }, (_, h) => {
    const own = Math.floor(h / group);
    const q = turned(head(h), at.atQueryNorm);
    const cached = (from: Row, s: number) =>
      Array.from({ length: headDim }, (_, d) => from[(s * kvHeads + own) * headDim + d]);
    const fresh = length < CAPACITY;
    const keys = Array.from({ length: Math.min(length, CAPACITY) }, (_, s) => cached(k, s));
    const values = keys.map((_, s) => cached(v, s));
    if (fresh) keys.push(turned(head(group * kvHeads + own), at.atKeyNorm));
    if (fresh) values.push(head((group + 1) * kvHeads + own));
    const scores = keys.map((key) => Math.exp(sum(headDim, (d) => key[d] * q[d]) / Math.sqrt(headDim)));
    const total = sum(scores.length, (s) => scores[s]);
    return Array.from({ length: headDim }, (_, d) => sum(scores.length, (s) => (scores[s] / total) * values[s][d]));
  }).flat();
  const h = product(attended, w, at.atOut, hidden).map((y, i) => y + x[i]);
  const both = product(normed(h, gains, at.atMlpNorm, ROW_EPS), w, at.atGate, 2 * intermediate);
  const act = Array.from(
    { length: intermediate },
    (_, i) => (both[i] / (1 + Math.exp(-both[i]))) * both[intermediate + i],
  );
  return product(act, w, at.atDown, hidden).map((y, i) => y + h[i]);
}

async function run(more: Partial<DecodeLayerShape>, length = 4, groups = availableParallelism(), met = [0, 0, 0]) {
  const shape = { ...base, ...more } as DecodeLayerShape;
  const { hidden, kvHeads, headDim, dtype, weights } = shape;
  const at = places(shape);
  const round = (data: Float32Array, type: string) =>
    type === "f16" ? Float32Array.from(Float16Array.from(data)) : data;
  const stored = (data: Float32Array, type: string) =>
    type === "f16" ? new Uint16Array(Float16Array.from(data).buffer) : data;
  const inputs: Inputs = {
    x: round(noise(hidden, 1), dtype),
    w: round(
      noise(at.size, 2).map((v) => 0.3 * v),
      weights,
    ),
    gains: noise(at.atKeyNorm + headDim, 3).map((v) => v + 1),
    table: noise((CAPACITY + 5) * headDim, 4),
    k: round(noise(CAPACITY * kvHeads * headDim, 5), dtype),
    v: round(noise(CAPACITY * kvHeads * headDim, 6), dtype),
    length,
  };
  const { x, w, gains, table, k, v } = inputs;
  const arrays = {
    ...{ x: stored(x, dtype), w: stored(w, weights), gains, table, lengths: Int32Array.from([length]) },
    ...{
      k: stored(k, dtype),
      v: stored(v, dtype),
      scratch: stored(new Float32Array(4 * scratchOf(shape).size), dtype),
    },
    ...{ met: Uint32Array.from(met), y: stored(new Float32Array(hidden + 4).fill(5), dtype) },
  };
  const quad = weights === "f16" ? 8 : 4;
  const uniforms = {
    ...{ groups, patience: 2 ** 28, batch: 1, kvHeads, capacity: CAPACITY, spans: 1, scale: 1 / Math.sqrt(headDim) },
    ...{ eps: EPS, rowEps: ROW_EPS, atQkv: at.atQkv / quad, atOut: at.atOut / quad, atGate: at.atGate / quad },
    ...{ atDown: at.atDown / quad, atNorm: at.atNorm / 4, atMlpNorm: at.atMlpNorm / 4 },
    ...{ atQueryNorm: at.atQueryNorm / 4, atKeyNorm: at.atKeyNorm / 4 },
  };
  const result = await runKernel(decodeLayer, arrays, ["y", "k", "met"], shape, uniforms);
  const y = dtype === "f16" ? Float32Array.from(new Float16Array(result.y.buffer)) : result.y;
  expect([...new Uint32Array(result.met.buffer)]).toEqual([0, 4, met[2]]); // four meetings, all left
  return { y, k: result.k, error: worst(y, [...reference(shape, inputs), 5, 5, 5, 5]) };
}

const shapes: [string, Partial<DecodeLayerShape>][] = [
  ["norms of heads", {}],
  ["no norms of heads", { norm: false }],
  ["a key head a head", { kvHeads: 3, group: 1, headDim: 16, hidden: 48 }],
  ["one key head of 64", { kvHeads: 1, group: 4, headDim: 64 }],
  ["heads of 88", { kvHeads: 2, group: 1, headDim: 88, hidden: 176 }],
];
for (const [name, shape] of shapes)
  test.skipIf(!cpu || !fitsLayer({ ...base, ...shape } as DecodeLayerShape, target))(
    `${name}: equals float64 at every length`,
    async () => {
      for (const length of [0, 1, 7, 8, 9, 12])
        expect([length, (await run(shape, length)).error]).toEqual([length, expect.closeTo(0, 4)]);
    },
  );

test.skipIf(!cpu)("any number of workgroups gives the same bits", async () => {
  const [one, ...others] = await Promise.all(
    [1, 2, 1].map((groups) => run({}, 4, Math.min(groups, availableParallelism()))),
  );
  for (const { y, k } of others) expect([[...y], [...k]]).toEqual([[...one.y], [...one.k]]);
});

test.skipIf(!cpu || !target.f16)("f16 weights and activations are summed in f32", async () => {
  expect((await run({ weights: "f16" })).error).toBeLessThan(1e-5);
  expect((await run({ dtype: "f16" })).error).toBeLessThan(5e-3);
  expect((await run({ weights: "f16", dtype: "f16" })).error).toBeLessThan(5e-3);
});

test.skipIf(!cpu)("where workgroups once waited in vain, what comes out is NaN", async () => {
  expect((await run({}, 4, 1, [0, 0, 1])).y[0]).toBeNaN();
});

test.skipIf(!cpu)("is for rows of whole steps that fit shared memory", () => {
  for (const more of [{ hidden: 72 }, { intermediate: 90 }, { headDim: 12 }, { intermediate: 16384 }, { lanes: 4 }])
    expect([more, fitsLayer({ ...base, ...more } as DecodeLayerShape, target)]).toEqual([more, false]);
  for (const shape of [{}, ...shapes.map(([, more]) => more)])
    expect([shape, fitsLayer({ ...base, lanes: 8, ...shape } as DecodeLayerShape, target)]).toEqual([shape, true]);
  expect(fitsLayer(base, target)).toBe(true);
});
