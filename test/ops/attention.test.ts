import { expect, test } from "bun:test";
import { gradcheck } from "../../framework/autograd/gradcheck.ts";
import { type AttentionOptions, attentionNaive, scaledDotProductAttention } from "../../framework/ops/attention.ts";
import { Tensor } from "../../framework/tensor/tensor.ts";
import { input, worst } from "./support.ts";

/** The definition in double precision: q [B, Hq, T, D], k and v [B, Hkv, S, D]. */
function reference(
  q: ArrayLike<number>,
  k: ArrayLike<number>,
  v: ArrayLike<number>,
  d: { B: number; Hq: number; Hkv: number; T: number; S: number; D: number },
  causal: boolean,
  segments?: number[],
): number[] {
  const { B, Hq, Hkv, T, S, D } = d;
  const out: number[] = [];
  for (let b = 0; b < B; b++) {
    for (let h = 0; h < Hq; h++) {
      const kv = (b * Hkv + Math.floor(h / (Hq / Hkv))) * S * D;
      for (let t = 0; t < T; t++) {
        const at = ((b * Hq + h) * T + t) * D;
        const sees = (s: number) =>
          (!causal || s <= t + S - T) && (!segments || segments[b * T + t] === segments[b * T + s]);
        const weights = Array.from({ length: S }, (_, s) => {
          if (!sees(s)) return 0;
          let dot = 0;
          for (let i = 0; i < D; i++) dot += q[at + i] * k[kv + s * D + i];
          return Math.exp(dot / Math.sqrt(D));
        });
        const total = weights.reduce((a, w) => a + w, 0);
        for (let i = 0; i < D; i++) out.push(weights.reduce((a, w, s) => a + (w / total) * v[kv + s * D + i], 0));
      }
    }
  }
  return out;
}

const shapes = [
  { B: 1, Hq: 1, Hkv: 1, T: 1, S: 1, D: 16 },
  { B: 2, Hq: 4, Hkv: 2, T: 7, S: 7, D: 16 },
  { B: 1, Hq: 2, Hkv: 1, T: 5, S: 37, D: 24 },
  { B: 1, Hq: 3, Hkv: 3, T: 65, S: 65, D: 64 },
];

for (const fn of [attentionNaive, scaledDotProductAttention]) {
  for (const d of shapes) {
    for (const causal of [false, true]) {
      test(`${fn.name} ${causal ? "causal " : ""}of ${JSON.stringify(d)} equals float64`, async () => {
        const [q, k, v] = [
          input([d.B, d.Hq, d.T, d.D], 1, { scale: 2 }),
          input([d.B, d.Hkv, d.S, d.D], 2),
          input([d.B, d.Hkv, d.S, d.D], 3),
        ];
        const expected = reference(await q.data(), await k.data(), await v.data(), d, causal);
        expect(worst(await fn(q, k, v, { causal }).data(), expected)).toBeLessThan(1e-5);
      });
    }
  }
}

const packed = Tensor.from(Int32Array.of(0, 0, 0, 1, 1, 2, 0, 1, 1, 1, 1, 1), { shape: [2, 6] });

test("attention stays inside packed documents", async () => {
  const d = { B: 2, Hq: 2, Hkv: 1, T: 6, S: 6, D: 16 };
  const [q, k, v] = [input([2, 2, 6, 16], 1), input([2, 1, 6, 16], 2), input([2, 1, 6, 16], 3)];
  const expected = reference(await q.data(), await k.data(), await v.data(), d, true, Array.from(await packed.data()));
  expect(
    worst(await scaledDotProductAttention(q, k, v, { causal: true, segments: packed }).data(), expected),
  ).toBeLessThan(1e-5);
});

test.each<[string, AttentionOptions]>([
  ["plain", {}],
  ["causal", { causal: true }],
  ["packed", { causal: true, segments: packed }],
])("%s attention passes gradcheck", async (_, options) => {
  const inputs = [input([2, 2, 6, 4], 1), input([2, 1, 6, 4], 2), input([2, 1, 6, 4], 3)];
  await gradcheck((q, k, v) => scaledDotProductAttention(q, k, v, options), inputs, { tolerance: 2e-2 });
});

test("a head size that the kernels do not take goes by the definition", async () => {
  const [q, k, v] = [input([1, 2, 3, 6], 1), input([1, 2, 3, 6], 2), input([1, 2, 3, 6], 3)];
  const [a, b] = [scaledDotProductAttention(q, k, v, { causal: true }), attentionNaive(q, k, v, { causal: true })];
  expect([...(await a.data())]).toEqual([...(await b.data())]);
});

test("both layouts give the same", async () => {
  const [q, k, v] = [input([2, 5, 4, 16], 1), input([2, 5, 2, 16], 2), input([2, 5, 2, 16], 3)]; // [B, T, H, D]
  const y = scaledDotProductAttention(q, k, v, { causal: true, layout: "BTHD" });
  const turned = scaledDotProductAttention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), { causal: true });
  expect(worst(await y.data(), await turned.transpose(1, 2).data())).toBeLessThan(1e-6);
});

test("a longer buffer of keys is read up to `keys`", async () => {
  const [q, k, v] = [input([1, 2, 2, 16], 1), input([1, 9, 2, 16], 2), input([1, 9, 2, 16], 3)];
  const y = scaledDotProductAttention(q, k, v, { causal: true, layout: "BTHD", keys: 6 });
  const cut = scaledDotProductAttention(q, k.slice(1, 0, 6), v.slice(1, 0, 6), { causal: true, layout: "BTHD" });
  expect(worst(await y.data(), await cut.data())).toBeLessThan(1e-6);
});

test("query heads that no key head serves are refused", () => {
  expect(() => scaledDotProductAttention(input([1, 3, 2, 16]), input([1, 2, 2, 16]), input([1, 2, 2, 16]))).toThrow(
    "3 query heads over 2 key heads",
  );
});
