import type { HeadsShape } from "../../kernels/shared/heads.ts";

/** The definitions of `qkvHeads` and its gradient in float64. Rows are tokens; positions are given for each. */
export interface HeadsInput {
  shape: HeadsShape;
  tokens: number;
  qkv: ArrayLike<number>;
  qNorm: ArrayLike<number>;
  kNorm: ArrayLike<number>;
  /** [positions, headDim / 2, 2] */
  table: ArrayLike<number>;
  positions: ArrayLike<number>;
  eps: number;
}

interface Place {
  token: number;
  /** Of all heads: q's, then k's, then v's. */
  head: number;
  kind: "q" | "k" | "v";
  /** First element within q, k or v. */
  at: number;
}

export function* places({ shape: { heads, kvHeads, headDim }, tokens }: HeadsInput): Generator<Place> {
  for (let token = 0; token < tokens; token++)
    for (let head = 0; head < heads + 2 * kvHeads; head++) {
      const kind = head < heads ? "q" : head < heads + kvHeads ? "k" : "v";
      const [own, count] = kind === "q" ? [head, heads] : [(head - heads) % kvHeads, kvHeads];
      yield { token, head, kind, at: (token * count + own) * headDim };
    }
}

const turned = (x: number[], token: number, direction: number, { shape, table, positions }: HeadsInput): number[] => {
  const half = shape.headDim / 2;
  if (!shape.rotary) return x;
  return x.map((_, i) => {
    const pair = i % half;
    const [c, s] = [0, 1].map((k) => table[(positions[token] * half + pair) * 2 + k]);
    return i < half ? x[i] * c - direction * x[i + half] * s : x[i] * c + direction * x[pair] * s;
  });
};

const rowOf = ({ shape, qkv }: HeadsInput, { token, head }: Place): number[] => {
  const all = shape.heads + 2 * shape.kvHeads;
  return Array.from({ length: shape.headDim }, (_, i) => qkv[(token * all + head) * shape.headDim + i]);
};

const rstdOf = (x: number[], { shape, eps }: HeadsInput) =>
  shape.norm ? 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length + eps) : 1;

export function headsReference(input: HeadsInput): Record<"q" | "k" | "v", number[]> {
  const out = { q: [] as number[], k: [] as number[], v: [] as number[] };
  for (const place of places(input)) {
    const x = rowOf(input, place);
    const weight = place.kind === "q" ? input.qNorm : input.kNorm;
    const r = rstdOf(x, input);
    const normed = input.shape.norm ? x.map((v, i) => v * r * weight[i]) : x;
    const y = place.kind === "v" ? x : turned(normed, place.token, 1, input);
    y.forEach((v, i) => {
      out[place.kind][place.at + i] = v;
    });
  }
  return out;
}

/** dqkv, and the gradients of both norms' weights. */
export function headsGradientReference(input: HeadsInput, given: Record<"q" | "k" | "v", ArrayLike<number>>) {
  const { headDim, heads, kvHeads, norm } = input.shape;
  const dqkv: number[] = [];
  const weights = { q: new Array<number>(headDim).fill(0), k: new Array<number>(headDim).fill(0) };
  for (const place of places(input)) {
    const x = rowOf(input, place);
    const dy = x.map((_, i) => given[place.kind][place.at + i]);
    let dx = dy;
    if (place.kind !== "v") {
      const g = turned(dy, place.token, -1, input);
      const r = rstdOf(x, input);
      const weight = place.kind === "q" ? input.qNorm : input.kNorm;
      const mean = g.reduce((sum, v, i) => sum + v * weight[i] * x[i] * r, 0) / headDim;
      dx = norm ? g.map((v, i) => r * (v * weight[i] - x[i] * r * mean)) : g;
      g.forEach((v, i) => {
        weights[place.kind as "q" | "k"][i] += v * x[i] * r;
      });
    }
    dx.forEach((v, i) => {
      dqkv[(place.token * (heads + 2 * kvHeads) + place.head) * headDim + i] = v;
    });
  }
  return { dqkv, ...weights };
}
