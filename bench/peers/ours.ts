import { CausalLM, optim, scaledDotProductAttention, scope, Tensor } from "micromind";
import { attentionSize, type Parameter, type StepData } from "./data.ts";
import { type Peer, training } from "./peer.ts";

/** MicroMind as a script outside of it would use it. */
export function ours({ precision = "f32" }: { precision?: optim.Precision } = {}): Peer {
  return {
    trainer(data) {
      const model = modelOf(data);
      const { beta1, beta2, clip, ...options } = training;
      const optimizer = new optim.AdamW(model.namedParameters(), { ...options, betas: [beta1, beta2] });
      const rows = (ids: Int32Array) => Tensor.from(ids, { shape: [data.batch, data.length] }).keep();
      const [ids, targets] = [rows(data.ids), rows(data.targets)];
      return async () => {
        const loss = scope(() => {
          optimizer.zeroGrad();
          const value = model.loss(ids, targets);
          value.backward();
          optimizer.step({ clip, loss: value });
          return value;
        });
        const report = await optimizer.report(loss);
        loss.dispose();
        return report.loss;
      };
    },
    attention(data) {
      const { length, heads, headDim } = attentionSize;
      const shape = [1, length, heads, headDim];
      const inputs = [data.q, data.k, data.v].map((x) => Tensor.from(x, { shape, requiresGrad: true }).keep());
      for (const x of inputs) x.requiresGrad = true;
      const dy = Tensor.from(data.dy, { shape }).keep();
      return async (read) => {
        for (const x of inputs) x.grad?.dispose();
        for (const x of inputs) x.grad = undefined;
        const loss = scope(() => {
          const [q, k, v] = inputs;
          const value = scaledDotProductAttention(q, k, v, { causal: true, layout: "BTHD" }).mul(dy).sum();
          value.backward();
          return value;
        });
        const value = await loss.item();
        loss.dispose();
        const gradients = read
          ? await Promise.all(inputs.map(async (x) => (await x.grad?.data()) as Float32Array))
          : [];
        return { value, gradients };
      };
    },
    decoder(data, streams) {
      const model = modelOf(data);
      if (precision === "f16") model.half();
      return async (first, count) => {
        const prompts = Array.from({ length: streams }, () => [first]);
        const made = new Array<number>(streams).fill(0);
        const steps = Array.from({ length: count }, (): number[] => []);
        for await (const { row, token } of model.generateBatch(prompts, { maxNewTokens: count, temperature: 0 }))
          steps[made[row]++][row] = token;
        return steps;
      };
    },
  };
}

/** The decoder with the common weights, which are [in, out] there and [out, in] here. */
function modelOf(data: StepData): CausalLM {
  const model = new CausalLM({
    model_type: "qwen3",
    vocab_size: data.vocab,
    hidden_size: data.hidden,
    num_hidden_layers: data.layers,
    num_attention_heads: data.heads,
    num_key_value_heads: data.kvHeads,
    intermediate_size: data.parameters.find((p) => p.name.endsWith("gate_proj.weight"))?.shape[1],
    max_position_embeddings: data.length,
  });
  model.loadStateDict(new Map(data.parameters.map((p) => [p.name, p.name.endsWith("_proj.weight") ? turned(p) : p])));
  return model;
}

function turned({ name, shape: [rows, columns], data }: Parameter): Parameter {
  const out = data.map((_, i) => data[(i % rows) * columns + Math.floor(i / rows)]);
  return { name, shape: [columns, rows], data: out };
}
