import type { AttentionData, StepData } from "./data.ts";

/** The training step of all: AdamW as in PyTorch, the gradient's global norm clipped to 1. */
export const training = { learningRate: 5e-4, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01, clip: 1 };

/** Attention's value Σ y · dy, and its gradients [length, heads, headDim] by q, k and v. */
export interface AttentionResult {
  value: number;
  gradients: Float32Array[];
}

/** A library on one of its back ends, with the weights and the batch where it computes. */
export interface Peer {
  /** What the table says of how it trains, where that is not the plain way. */
  note?: string;
  /** Prepares training; step `n` (from 1) resolves to its loss once the update is done too. */
  trainer(data: StepData): (n: number) => Promise<number>;
  /** Prepares attention; a call computes value and gradients, and reads the gradients only where asked. */
  attention(data: AttentionData): (read: boolean) => Promise<AttentionResult>;
  /** Prepares generation over a KV cache; a call gives the `count` likeliest tokens of every stream behind `first`, by step. */
  decoder(data: StepData, streams: number): Decoder;
}

export type Decoder = (first: number, count: number) => Promise<number[][]>;

interface Entry {
  library: string;
  backend: "webgpu" | "wasm";
  /** Whether it is for generation only. */
  infers?: true;
  open(): Promise<Peer>;
}

/** By the name that `--peers` takes. Each is imported where it runs: a process of its own. */
export const peers: Record<string, Entry> = {
  ours: { library: "MicroMind", backend: "webgpu", open: async () => (await import("./ours.ts")).ours() },
  "ours-f16": {
    library: "MicroMind, f16",
    backend: "webgpu",
    infers: true,
    open: async () => (await import("./ours.ts")).ours({ precision: "f16" }),
  },
  "jax-webgpu": { library: "jax-js", backend: "webgpu", open: async () => (await import("./jax.ts")).jax("webgpu") },
  "jax-wasm": { library: "jax-js", backend: "wasm", open: async () => (await import("./jax.ts")).jax("wasm") },
  "tfjs-webgpu": {
    library: "TensorFlow.js",
    backend: "webgpu",
    open: async () => (await import("./tfjs.ts")).tfjs("webgpu"),
  },
  "tfjs-wasm": {
    library: "TensorFlow.js",
    backend: "wasm",
    open: async () => (await import("./tfjs.ts")).tfjs("wasm"),
  },
  "ort-webgpu": {
    library: "onnxruntime-web",
    backend: "webgpu",
    infers: true,
    open: async () => (await import("./ort.ts")).ort("webgpu"),
  },
  "ort-wasm": {
    library: "onnxruntime-web",
    backend: "wasm",
    infers: true,
    open: async () => (await import("./ort.ts")).ort("wasm"),
  },
};
