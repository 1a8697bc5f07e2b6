import type { Parameter, StepData } from "./data.ts";
import { Graph } from "./onnx.ts";

/** The op that multiplies by a matrix. */
export type Product = "MatMul" | "Einsum";

/** Names of layer `l`'s cache, as inputs and outputs of the model. */
export const cacheNames = (when: "past" | "present", l: number) => ["key", "value"].map((x) => `${when}.${l}.${x}`);

/**
 * The decoder in ONNX, for one token of each stream: with the fused ops of exported LLMs, q, k and v from one matrix, gate and up too.
 * Inputs: `id` [streams, 1], `seen` [streams] and `total` [], the tokens before it and with it, `past.*` [streams, kvHeads, seen, headDim].
 * Outputs: `next` [streams, 1], the likeliest token, and `present.*`.
 */
export function decoderModel(data: StepData, streams: number, product: Product): Uint8Array<ArrayBuffer> {
  const g = new Graph();
  const tools = toolsOf(data, streams, g, product);
  const embedding = tools.weight("model.embed_tokens");
  g.input("id", "int32", [streams, 1]);
  g.input("seen", "int32", [streams]);
  g.input("total", "int32", []);
  const block = layerOf(data, streams, g, tools);
  let x = g.node("Gather", [embedding, "id"]);
  let h = tools.norm(x, "model.layers.0.input_layernorm");
  for (let l = 0; l < data.layers; l++) [x, h] = block(l, x, h);
  const best = g.node("ArgMax", [tools.logits(h, embedding)], { axis: -1, keepdims: 1 });
  const shape = g.initializer("token_shape", "int64", [2], BigInt64Array.of(BigInt(streams), 1n));
  g.node("Reshape", [g.node("Cast", [best], { to: 6 }), shape], {}, ["next"]);
  g.output("next", "int32", [streams, 1]);
  return g.model();
}

/** Writes layer `l`: from the residual stream and its normed value to those that the next layer begins with. */
function layerOf(data: StepData, streams: number, g: Graph, tools: Tools) {
  const { layers, heads, kvHeads, headDim, length } = data;
  const { weight, joined, split, norm, addNorm, multiply } = tools;
  const half = (table: Float32Array) => table.filter((_, i) => i % headDim < headDim / 2);
  const [cos, sin] = (["cos", "sin"] as const).map((name) =>
    g.initializer(name, "float32", [length, headDim / 2], half(data[name])),
  );
  const shape = (name: string, ...sizes: number[]) =>
    g.initializer(name, "int64", [sizes.length], BigInt64Array.from(sizes, BigInt));
  const perHead = shape("per_head", 1, -1, headDim);
  const flat = shape("flat", streams, 1, -1);
  const headNorm = (y: string, name: string) => g.node("Reshape", [norm(g.node("Reshape", [y, perHead]), name), flat]);
  const attributes = { num_heads: heads, kv_num_heads: kvHeads, do_rotary: 1, scale: { float: headDim ** -0.5 } };
  return (l: number, x: string, h: string): [x: string, h: string] => {
    const at = (name: string) => `model.layers.${l}.${name}`;
    const projections = ["q", "k", "v"].map((c) => at(`self_attn.${c}_proj`));
    const [q, k, v] = split(multiply(h, joined(projections)), projections);
    const past = cacheNames("past", l).map((name) => g.input(name, "float32", [streams, kvHeads, "seen", headDim]));
    const present = cacheNames("present", l);
    for (const name of present) g.output(name, "float32", [streams, kvHeads, "total", headDim]);
    const heads = [headNorm(q, at("self_attn.q_norm")), headNorm(k, at("self_attn.k_norm")), v];
    const inputs = [...heads, ...past, "seen", "total", cos, sin];
    const y = g.node("com.microsoft.GroupQueryAttention", inputs, attributes, [at("attention"), ...present]);
    const mixed = multiply(y, weight(at("self_attn.o_proj")));
    const [between, normed] = addNorm(x, mixed, at("post_attention_layernorm"));
    const both = [at("mlp.gate_proj"), at("mlp.up_proj")];
    const [gate, up] = split(multiply(normed, joined(both)), both);
    const inner = g.node("Mul", [g.node("com.microsoft.QuickGelu", [gate], { alpha: { float: 1 } }), up]); // SiLU
    const next = l + 1 < layers ? `model.layers.${l + 1}.input_layernorm` : "model.norm";
    return addNorm(between, multiply(inner, weight(at("mlp.down_proj"))), next);
  };
}

type Tools = ReturnType<typeof toolsOf>;

function toolsOf({ parameters, hidden }: StepData, streams: number, g: Graph, product: Product) {
  const byName = new Map(parameters.map((p) => [p.name, p]));
  const found = (name: string) => byName.get(`${name}.weight`) as Parameter;
  const epsilon = { float: 1e-6 };
  const weight = (name: string) => g.initializer(name, "float32", found(name).shape, found(name).data);
  return {
    weight,
    /** Matrices of the same input side by side. */
    joined(names: string[]): string {
      const { shape, data } = sideBySide(names.map(found));
      return g.initializer(`${names[0]}+`, "float32", shape, data);
    },
    /** The columns of each matrix in what their `joined` made. */
    split(x: string, names: string[]): string[] {
      const widths = BigInt64Array.from(names, (name) => BigInt(found(name).shape[1]));
      const sizes = g.initializer(`${names[0]}_widths`, "int64", [names.length], widths);
      const outputs = names.map((name) => `${name}_out`);
      g.node("Split", [x, sizes], { axis: -1 }, outputs);
      return outputs;
    },
    norm: (x: string, name: string) => g.node("SimplifiedLayerNormalization", [x, weight(name)], { epsilon, axis: -1 }),
    /** a + b, and it normed. */
    addNorm(a: string, b: string, name: string): [string, string] {
      const [normed, sum] = [`${name}_out`, `${name}_sum`];
      g.node("com.microsoft.SkipSimplifiedLayerNormalization", [a, b, weight(name)], { epsilon }, [
        normed,
        "",
        "",
        sum,
      ]);
      return [sum, normed];
    },
    multiply: (x: string, w: string) =>
      g.node(product, [x, w], product === "Einsum" ? { equation: "abk,kj->abj" } : undefined),
    /** By the embedding, which is [vocab, hidden]. */
    logits(x: string, embedding: string): string {
      if (product === "Einsum") return g.node("Einsum", [x, embedding], { equation: "abk,jk->abj" });
      const rows = g.initializer("rows", "int64", [2], BigInt64Array.of(BigInt(streams), BigInt(hidden)));
      return g.node("Gemm", [g.node("Reshape", [x, rows]), embedding], { transB: 1 });
    },
  };
}

function sideBySide(matrices: Pick<Parameter, "shape" | "data">[]): Pick<Parameter, "shape" | "data"> {
  const [rows] = matrices[0].shape;
  const width = matrices.reduce((sum, { shape }) => sum + shape[1], 0);
  const data = new Float32Array(rows * width);
  let from = 0;
  for (const { shape, data: own } of matrices) {
    for (let row = 0; row < rows; row++)
      data.set(own.subarray(row * shape[1], (row + 1) * shape[1]), row * width + from);
    from += shape[1];
  }
  return { shape: [rows, width], data };
}
