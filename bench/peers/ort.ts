import { availableParallelism } from "node:os";
import type { InferenceSession, Ort, Tensor } from "onnxruntime-web";
import type { StepData } from "./data.ts";
import { cacheNames, decoderModel, type Product } from "./ortModel.ts";
import type { Decoder, Peer } from "./peer.ts";

/** Where and how a session computes. */
interface Setting {
  ort: Ort;
  threads: number;
  product: Product;
  /** Where the cache and the tokens are kept between calls. */
  location: "cpu" | "gpu-buffer";
}

/** onnxruntime-web, which only infers: an ONNX model of a token, called for each. */
export async function ort(backend: "webgpu" | "wasm"): Promise<Peer> {
  const setting = await settingOf(backend);
  setting.ort.env.wasm.numThreads = setting.threads;
  const none = () => {
    throw new Error("onnxruntime-web trains nothing: it is a peer for generation only");
  };
  return { trainer: none, attention: none, decoder: (data, streams) => decoder(data, streams, backend, setting) };
}

async function settingOf(backend: "webgpu" | "wasm"): Promise<Setting> {
  // Its build for Node, which Bun takes by itself: in the others, Bun cannot start the threads' workers from blobs.
  if (backend === "wasm") {
    const threads = availableParallelism();
    return { ort: await import("onnxruntime-web"), threads, product: "MatMul", location: "cpu" };
  }
  // The build that suspends wasm by JavaScriptCore takes 2/3 of the one that unwinds it ("/webgpu"). On WebGPU, MatMul computes
  // tiles of at least 8 rows, of which a token has one; Einsum has a thread for each column: 4 times faster on llvmpipe.
  return { ort: await import("onnxruntime-web/jspi"), threads: 1, product: "Einsum", location: "gpu-buffer" };
}

function decoder(data: StepData, streams: number, backend: string, setting: Setting): Decoder {
  const { ort, product, location: preferredOutputLocation } = setting;
  const options = { executionProviders: [backend], preferredOutputLocation, logSeverityLevel: 3 }; // errors only
  const opened = ort.InferenceSession.create(decoderModel(data, streams, product), options);
  const integers = (x: number, shape: number[]) =>
    new ort.Tensor("int32", new Int32Array(shape.reduce((a, b) => a * b, 1)).fill(x), shape);
  const nothing = () => new ort.Tensor("float32", new Float32Array(0), [streams, data.kvHeads, 0, data.headDim]);
  const layers = Array.from({ length: data.layers }, (_, l) => l);
  const [past, present] = (["past", "present"] as const).map((when) => layers.flatMap((l) => cacheNames(when, l)));
  return async (first, count) => {
    const session: InferenceSession = await opened;
    const tokens = [integers(first, [streams, 1])];
    let cache = past.map(nothing);
    for (let n = 0; n < count; n++) {
      const feeds: Record<string, Tensor> = { id: tokens[n], seen: integers(n, [streams]), total: integers(n + 1, []) };
      past.forEach((name, i) => {
        feeds[name] = cache[i];
      });
      const made = await session.run(feeds);
      for (const tensor of cache) tensor.dispose();
      cache = present.map((name) => made[name]);
      tokens.push(made.next);
    }
    const ids = await Promise.all(tokens.map((x) => x.getData()));
    for (const tensor of [...cache, ...tokens]) tensor.dispose();
    return ids.slice(1).map((step) => [...step]);
  };
}
