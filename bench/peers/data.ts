/** What all peers start from: weights and token ids made from counters, so that TypeScript and pytorch.py make the same bits. */
import sizes from "./sizes.json";

export type SizeName = keyof typeof sizes;

/** A Qwen3-shaped decoder, its output tied to the embedding, and a batch. */
export interface Size {
  hidden: number;
  layers: number;
  heads: number;
  kvHeads: number;
  batch: number;
  length: number;
  vocab: number;
}

export interface Parameter {
  /** Hugging Face's name. */
  name: string;
  /** Matrices are [in, out]: y = x · W. */
  shape: number[];
  data: Float32Array<ArrayBuffer>;
}

export interface StepData extends Size {
  headDim: number;
  parameters: Parameter[];
  /** [batch · length] */
  ids: Int32Array<ArrayBuffer>;
  /** The next id of each. */
  targets: Int32Array<ArrayBuffer>;
  /** Rotary tables [length, headDim], each half the same. */
  cos: Float32Array<ArrayBuffer>;
  sin: Float32Array<ArrayBuffer>;
}

/** The one shape on which attention is measured, causal: [length, heads, headDim]. */
export const attentionSize = { length: 1024, heads: 8, headDim: 64 };

/** Generation: the weights, the first token of every stream, and how many follow. Every token meets every weight once. */
export const decodeTask = { size: "S3", first: 2, tokens: 64 } as const;

/** Streams of a task of generation. */
export const decodeStreams: Record<string, number> = { decode: 1, decode8: 8 };

/** Queries, keys, values and the gradient of the output, each [length, heads, headDim] in ±1. */
export interface AttentionData {
  q: Float32Array<ArrayBuffer>;
  k: Float32Array<ArrayBuffer>;
  v: Float32Array<ArrayBuffer>;
  dy: Float32Array<ArrayBuffer>;
}

export const isSize = (name: string): name is SizeName => Object.hasOwn(sizes, name);

export function stepData(name: SizeName): StepData {
  const size: Size = sizes[name];
  const { batch, length, vocab } = size;
  const headDim = size.hidden / size.heads;
  const parameters = parameterShapes(size).map(([path, shape], i) => {
    const data = uniform(
      i,
      shape.reduce((a, b) => a * b),
    );
    const bound = Math.sqrt(3) * deviation(path, shape); // of the same deviation as a normal distribution
    const mean = shape.length === 1 ? 1 : 0;
    return { name: path, shape, data: data.map((u) => mean + bound * u) };
  });
  const row = length + 1;
  const all = Int32Array.from(words(parameters.length, batch * row), (word) => word % vocab);
  const cut = (from: number) => all.filter((_, i) => i % row >= from && i % row < from + length);
  return { ...size, headDim, parameters, ids: cut(0), targets: cut(1), ...rotary(length, headDim) };
}

export function attentionData(): AttentionData {
  const { length, heads, headDim } = attentionSize;
  const [q, k, v, dy] = [0, 1, 2, 3].map((i) => uniform(1000 + i, length * heads * headDim));
  return { q, k, v, dy };
}

/** Σ bits · (2i + 1) modulo 2^32 over all weights and ids: what the reference losses belong to. */
export function checksum({ parameters, ids, targets }: StepData): number {
  let sum = 0;
  for (const { buffer } of [...parameters.map((p) => p.data), ids, targets])
    new Uint32Array(buffer).forEach((bits, i) => {
      sum = (sum + Math.imul(bits, 2 * i + 1)) | 0;
    });
  return sum >>> 0;
}

export const parameterCount = ({ parameters }: StepData) => parameters.reduce((sum, p) => sum + p.data.length, 0);

function parameterShapes({ hidden, layers, heads, kvHeads, vocab }: Size): [name: string, shape: number[]][] {
  const headDim = hidden / heads;
  const inner = Math.ceil((hidden * Math.PI) / 64) * 64;
  const shapes: [string, number[]][] = [["model.embed_tokens", [vocab, hidden]]];
  for (let l = 0; l < layers; l++) {
    const layer: [string, number[]][] = [
      ["input_layernorm", [hidden]],
      ["self_attn.q_proj", [hidden, heads * headDim]],
      ["self_attn.k_proj", [hidden, kvHeads * headDim]],
      ["self_attn.v_proj", [hidden, kvHeads * headDim]],
      ["self_attn.q_norm", [headDim]],
      ["self_attn.k_norm", [headDim]],
      ["self_attn.o_proj", [heads * headDim, hidden]],
      ["post_attention_layernorm", [hidden]],
      ["mlp.gate_proj", [hidden, inner]],
      ["mlp.up_proj", [hidden, inner]],
      ["mlp.down_proj", [inner, hidden]],
    ];
    shapes.push(...layer.map(([name, shape]): [string, number[]] => [`model.layers.${l}.${name}`, shape]));
  }
  shapes.push(["model.norm", [hidden]]);
  return shapes.map(([name, shape]) => [`${name}.weight`, shape]);
}

function deviation(name: string, shape: number[]): number {
  if (shape.length === 1) return 0.1;
  return name.includes("embed_tokens") ? 0.02 : 1 / Math.sqrt(shape[0]);
}

function rotary(length: number, headDim: number): Pick<StepData, "cos" | "sin"> {
  const angle = (i: number) => Math.floor(i / headDim) * 1e6 ** ((-2 * (i % (headDim / 2))) / headDim);
  const table = (f: (x: number) => number) => Float32Array.from({ length: length * headDim }, (_, i) => f(angle(i)));
  return { cos: table(Math.cos), sin: table(Math.sin) };
}

/** Word number i of a stream. A hash of 32 bits by Chris Wellons (lowbias32, public domain). */
function hash(word: number): number {
  let h = word;
  h = Math.imul(h ^ (h >>> 16), 0x21f0aaad);
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  return (h ^ (h >>> 15)) >>> 0;
}

function words(stream: number, count: number): Uint32Array {
  const start = hash(stream + 1);
  return Uint32Array.from({ length: count }, (_, i) => hash(i ^ start));
}

/** Numbers in [−1, 1) of 24 bits, which f32 holds exactly. */
function uniform(stream: number, count: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(words(stream, count), (word) => (word >>> 8) / 2 ** 23 - 1);
}
