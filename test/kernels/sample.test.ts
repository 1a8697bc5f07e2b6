import { expect, setDefaultTimeout, test } from "bun:test";
import { NO_TOKEN, type SampleTuning, sample } from "../../kernels/sample.ts";
import { noise, runKernel, testGpu } from "./launch.ts";
import { type Choice, candidates, drawn, point } from "./sampleReference.ts";

setDefaultTimeout(60_000); // on a fresh machine a pipeline takes seconds to compile

const { target } = await testGpu();
const SEED = 7;

interface Given extends Choice {
  dtype?: "f32" | "f16";
  seen?: readonly number[];
  /** Tokens that each row made before. */
  step?: number;
  tuning?: SampleTuning;
}

/** Launches the kernel on rows of logits. */
async function pick(rows: readonly ArrayLike<number>[], given: Given) {
  const { temperature = 1, topK = 0, topP = 1, repetitionPenalty = 1, dtype = "f32", step = 0 } = given;
  const [batch, vocabulary] = [rows.length, rows[0].length];
  const width = Math.ceil(vocabulary / 32);
  const seen = new Uint32Array(batch * width);
  for (let row = 0; row < batch; row++)
    for (const id of given.seen ?? []) seen[row * width + (id >> 5)] |= 1 << (id & 31);
  const flat = rows.flatMap((row) => Array.from(row));
  const half = () => new Uint16Array(Float16Array.from([...flat, ...(flat.length % 2 ? [0] : [])]).buffer);
  const penalty = repetitionPenalty !== 1;
  const written = await runKernel(
    sample,
    {
      logits: dtype === "f16" ? half() : Float32Array.from(flat),
      token: new Int32Array(batch),
      out: new Int32Array((step + 1) * batch).fill(-7),
      lengths: new Int32Array(batch).fill(30),
      made: new Uint32Array(batch).fill(step),
      ...(penalty ? { seen } : {}),
    },
    ["token", "out", "lengths", "made", ...(penalty ? (["seen"] as const) : [])],
    { dtype, greedy: temperature === 0, penalty },
    {
      ...{ batch, vocabulary, penalty: repetitionPenalty, topK, seedLow: SEED, seedHigh: 0 },
      sharpness: temperature === 0 ? 0 : Math.LOG2E / temperature,
      topP: topP === 1 ? 0 : Math.max(1, Math.round(topP * 2 ** 32)),
    },
    given.tuning,
  );
  const ints = (x: Float32Array) => [...new Int32Array(x.buffer)];
  return {
    token: ints(written.token),
    out: ints(written.out),
    lengths: ints(written.lengths),
    made: ints(written.made),
    seen: written.seen && new Uint32Array(written.seen.buffer),
  };
}

/** Rows of different logits between -8 and 8. */
const noisy = (rows: number, vocabulary: number) =>
  Array.from({ length: rows }, (_, row) => noise(vocabulary, row + 1).map((x) => 8 * x));
const expected = (rows: readonly ArrayLike<number>[], given: Given) =>
  rows.map((logits, row) => drawn(candidates(logits, given, given.seen), point(row, given.step ?? 0, SEED)));

const choices: Choice[] = [
  {},
  { temperature: 0.2 },
  { temperature: 3 },
  { topK: 1 },
  { topK: 5 },
  { topK: 5000 },
  { topP: 0.5 },
  { topP: 0.95, temperature: 2 },
  { topP: 1e-9 },
  { topK: 40, topP: 0.9, temperature: 1.5 },
];
for (const choice of choices)
  test(`draws what float64 draws under ${JSON.stringify(choice)}`, async () => {
    for (const vocabulary of [1, 2, 97, 1031]) {
      const rows = noisy(24, vocabulary);
      expect((await pick(rows, choice)).token).toEqual(expected(rows, choice));
    }
  });

test("a vocabulary of 70,000 tokens, ids of more than 16 bits", async () => {
  const rows = noisy(3, 70_000);
  const choice = { topK: 60_000, temperature: 4 };
  expect((await pick(rows, choice)).token).toEqual(expected(rows, choice));
});

test("temperature 0 takes the largest, the lowest id among equals; -0 equals 0", async () => {
  const rows = [noise(97, 3), new Float32Array(97), noise(97).map((_, i) => (i === 50 || i === 60 ? 3 : 1))];
  rows[1].fill(-1).set([-0, 0, -0], 40);
  expect((await pick(rows, { temperature: 0 })).token).toEqual([rows[0].indexOf(Math.max(...rows[0])), 40, 50]);
});

test("among equal logits the lowest ids are kept", async () => {
  const rows = Array.from({ length: 200 }, () => new Float32Array(1031).fill(0.5));
  const { token } = await pick(rows, { topK: 7 });
  expect([...new Set(token)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6]);
  const half = await pick(rows, { topP: 0.5 });
  expect(half.token).toEqual(expected(rows, { topP: 0.5 }));
  expect(Math.max(...half.token)).toBeLessThan(516);
});

test("-Infinity is never drawn, even within the k largest", async () => {
  const rows = Array.from({ length: 64 }, () => new Float32Array(97).fill(Number.NEGATIVE_INFINITY));
  for (const row of rows) row.set([-900, -900.5], 33);
  const { token } = await pick(rows, { topK: 10 });
  expect([...new Set(token)].sort()).toEqual([33, 34]);
});

for (const temperature of [0, 1])
  test(`logits that are NaN, Infinity or all -Infinity give no token (temperature ${temperature})`, async () => {
    const broken = [Number.NaN, Number.POSITIVE_INFINITY].map((x) => noise(97).map((y, i) => (i === 70 ? x : y)));
    const rows = [...broken, new Float32Array(97).fill(Number.NEGATIVE_INFINITY), noise(97)];
    const { token, out } = await pick(rows, { temperature });
    expect(token.slice(0, 3)).toEqual([NO_TOKEN, NO_TOKEN, NO_TOKEN]);
    expect(token[3]).toBeGreaterThanOrEqual(0);
    expect(out).toEqual(token);
  });

for (const temperature of [0, 0.8])
  test(`tokens that occurred are penalised, and the new one counts from now on (temperature ${temperature})`, async () => {
    const seen = [0, 31, 32, 63, 64, 96];
    const given = { temperature, repetitionPenalty: 1.7, seen, topP: 0.9 };
    const rows = noisy(24, 97);
    const result = await pick(rows, given);
    expect(result.token).toEqual(expected(rows, given));
    result.token.forEach((token, row) => {
      const bits = seen.includes(token) ? seen : [...seen, token];
      const words = [0, 1, 2, 3].map(
        (w) => bits.filter((id) => id >> 5 === w).reduce((word, id) => word | (1 << (id & 31)), 0) >>> 0,
      );
      expect([...(result.seen?.slice(row * 4, row * 4 + 4) ?? [])]).toEqual(words);
    });
  });

test("moves each row on: its place in the output, its length, its count", async () => {
  const rows = noisy(3, 97);
  const { token, out, lengths, made } = await pick(rows, { step: 2 });
  expect(out).toEqual([...new Array(6).fill(-7), ...token]);
  expect(lengths).toEqual([31, 31, 31]);
  expect(made).toEqual([3, 3, 3]);
  expect(token).toEqual(expected(rows, { step: 2 }));
});

test("draws as often as the probabilities say (chi-square, 7 degrees of freedom)", async () => {
  const logits = Float32Array.of(2, 1, 0.5, 0, -0.5, -1, -2, 1.5);
  const rows = Array.from({ length: 8000 }, () => logits);
  const counts = new Array(8).fill(0);
  for (const token of (await pick(rows, { temperature: 0.9 })).token) counts[token]++;
  const chi = candidates(logits, { temperature: 0.9 }).reduce(
    (sum, { token, p }) => sum + (counts[token] - 8000 * p) ** 2 / (8000 * p),
    0,
  );
  expect(chi).toBeLessThan(24.3); // exceeded once in a thousand
});

test("the number of lanes changes nothing", async () => {
  const rows = noisy(24, 1031);
  const choice = { topK: 40, topP: 0.9, temperature: 1.5 };
  expect((await pick(rows, { ...choice, tuning: { lanes: 64 } })).token).toEqual(expected(rows, choice));
  expect((await pick(rows, { temperature: 0, tuning: { lanes: 256 } })).token).toEqual(
    expected(rows, { temperature: 0 }),
  );
});

test.skipIf(!target.f16)("f16 logits", async () => {
  const rows = noisy(24, 97).map((row) => Float32Array.from(Float16Array.from(row)));
  const choice = { topK: 20, topP: 0.9 };
  expect((await pick(rows, { ...choice, dtype: "f16" })).token).toEqual(expected(rows, choice));
});
