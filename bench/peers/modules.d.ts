// The little of the peers' interfaces that is used here: they are installed apart, and only for `bun bench --peers`.

declare module "@jax-js/jax" {
  /** Consumed by whatever takes it; `ref` keeps it for another use. */
  export interface Array {
    readonly ref: Array;
    add(x: Array | number): Array;
    sub(x: Array | number): Array;
    mul(x: Array | number): Array;
    div(x: Array | number): Array;
    neg(): Array;
    equal(x: Array): Array;
    lessEqual(x: Array): Array;
    sum(): Array;
    reshape(shape: number[]): Array;
    transpose(): Array;
    data(): Promise<Float32Array>;
    dispose(): void;
  }
  export type Tree = Record<string, Array>;
  type Axes = { keepdims?: boolean };
  export const numpy: {
    int32: unknown;
    array(values: ArrayBufferView, options?: { dtype?: unknown }): Array;
    zeros(shape: number[]): Array;
    arange(end: number): Array;
    matmul(a: Array, b: Array): Array;
    take(x: Array, index: Array, axis: number): Array;
    concatenate(xs: Array[], axis: number): Array;
    split(x: Array, parts: number, axis: number): Array[];
    mean(x: Array, axis: number, options: Axes): Array;
    minimum(a: Array | number, b: Array): Array;
    reciprocal(x: Array): Array;
    sqrt(x: Array): Array;
    square(x: Array): Array;
    where(condition: Array, a: Array | number, b: Array | number): Array;
    argmax(x: Array, axis: number): Array;
  };
  export const nn: {
    silu(x: Array): Array;
    logSoftmax(x: Array, axis: number): Array;
    dotProductAttention(q: Array, k: Array, v: Array, options: { isCausal?: boolean; mask?: Array }): Array;
  };
  export const tree: { ref<T>(value: T): T };
  export function init(...backends: string[]): Promise<string[]>;
  export function defaultDevice(backend: string): string;
  export function jit<A extends unknown[], R>(f: (...args: A) => R): (...args: A) => R;
  export function valueAndGrad<P, A extends unknown[]>(
    f: (parameters: P, ...rest: A) => Array,
  ): (parameters: P, ...rest: A) => [Array, P];
  export function blockUntilReady<T>(value: T): Promise<T>;
}

declare module "@tensorflow/tfjs" {
  export interface Tensor {
    add(x: Tensor | number): Tensor;
    sub(x: Tensor | number): Tensor;
    mul(x: Tensor | number): Tensor;
    div(x: Tensor | number): Tensor;
    neg(): Tensor;
    sum(): Tensor;
    mean(axis: number, keepDims: boolean): Tensor;
    sqrt(): Tensor;
    rsqrt(): Tensor;
    square(): Tensor;
    sigmoid(): Tensor;
    toFloat(): Tensor;
    reshape(shape: number[]): Tensor;
    transpose(axes: number[]): Tensor;
    tile(counts: number[]): Tensor;
    data(): Promise<Float32Array>;
    dispose(): void;
  }
  export interface Variable extends Tensor {
    assign(value: Tensor): void;
  }
  export function setBackend(name: string): Promise<boolean>;
  export function ready(): Promise<void>;
  export function tensor(values: ArrayBufferView, shape: number[], dtype?: "float32" | "int32"): Tensor;
  export function zeros(shape: number[]): Tensor;
  export function variable(value: Tensor, trainable: boolean, name?: string): Variable;
  export function matMul(a: Tensor, b: Tensor, transposeA?: boolean, transposeB?: boolean): Tensor;
  export function gather(x: Tensor, index: Tensor): Tensor;
  export function oneHot(index: Tensor, depth: number): Tensor;
  export function split(x: Tensor, parts: number, axis: number): Tensor[];
  export function concat(xs: Tensor[], axis: number): Tensor;
  export function softmax(x: Tensor): Tensor;
  export function slice(x: Tensor, begin: number[], size: number[]): Tensor;
  export function argMax(x: Tensor, axis: number): Tensor;
  export function keep(x: Tensor): Tensor;
  export function dispose(container: unknown): void;
  export function minimum(a: Tensor | number, b: Tensor): Tensor;
  export function div(a: Tensor | number, b: Tensor): Tensor;
  export function tidy<T>(f: () => T): T;
  export function variableGrads(f: () => Tensor): { value: Tensor; grads: Record<string, Tensor> };
  export function valueAndGrads(
    f: (...inputs: Tensor[]) => Tensor,
  ): (inputs: Tensor[]) => { value: Tensor; grads: Tensor[] };
  export const losses: { softmaxCrossEntropy(labels: Tensor, logits: Tensor): Tensor };
}

declare module "@tensorflow/tfjs-backend-wasm" {
  export function setWasmPaths(folder: string): void;
}

declare module "@tensorflow/tfjs-backend-webgpu" {}

declare module "onnxruntime-web" {
  export interface Tensor {
    getData(): Promise<Int32Array>;
    dispose(): void;
  }
  export interface InferenceSession {
    run(feeds: Record<string, Tensor>): Promise<Record<string, Tensor>>;
  }
  interface Options {
    executionProviders: string[];
    preferredOutputLocation: "cpu" | "gpu-buffer";
    logSeverityLevel: number;
  }
  /** What each of its builds offers. */
  export interface Ort {
    env: { wasm: { numThreads: number } };
    InferenceSession: { create(model: Uint8Array, options: Options): Promise<InferenceSession> };
    Tensor: new (type: string, data: ArrayBufferView, shape: number[]) => Tensor;
  }
  export const env: Ort["env"];
  export const InferenceSession: Ort["InferenceSession"];
  export const Tensor: Ort["Tensor"];
}

declare module "onnxruntime-web/jspi" {
  import type { Ort } from "onnxruntime-web";
  export const env: Ort["env"];
  export const InferenceSession: Ort["InferenceSession"];
  export const Tensor: Ort["Tensor"];
}
