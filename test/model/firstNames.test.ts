/** MiniMind's first names, which are Meta's: models and adapters whose rotary pairs are neighbours. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noGrad } from "../../framework/autograd/graph.ts";
import { fromFloat32, type HostTensor, toFloat32 } from "../../framework/checkpoint/host.ts";
import { openCheckpoint } from "../../framework/checkpoint/load.ts";
import { writePth } from "../../framework/checkpoint/pthWrite.ts";
import { writeSafetensors } from "../../framework/checkpoint/safetensors.ts";
import { loadAdapter } from "../../framework/model/adapter.ts";
import type { CausalLM } from "../../framework/model/causalLM.ts";
import { planAdapterPth, planPeft } from "../../framework/model/exportAdapter.ts";
import type { ExportPlan } from "../../framework/model/exportPlan.ts";
import { loadModel } from "../../framework/model/load.ts";
import { sizeOf } from "../../framework/tensor/shape.ts";
import { noise, worst } from "../ops/support.ts";

const home = mkdtempSync(join(tmpdir(), "micromind-first-"));
afterAll(() => rmSync(home, { recursive: true }));
const at = (name: string) => join(home, name);

/** Heads of 8 channels, four of queries to two of keys. */
const config = {
  ...{ vocab_size: 50, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ intermediate_size: 48, max_position_embeddings: 64, rope_theta: 500, model_type: "llama" as const },
};
const heads = { num_attention_heads: 4 };
const layer: Record<string, [rows: number, columns: number]> = {
  ...{ "attention.wq": [32, 32], "attention.wk": [16, 32], "attention.wv": [16, 32], "attention.wo": [32, 32] },
  ...{ "feed_forward.w1": [48, 32], "feed_forward.w2": [32, 48], "feed_forward.w3": [48, 32] },
};
const layers = [0, 1].flatMap((i) =>
  Object.entries(layer).map(([name, shape]) => [`layers.${i}.${name}`, shape] as const),
);
const rank = 3;

let seed = 0;
const random = (shape: number[], size: number): HostTensor =>
  fromFloat32(
    Float32Array.from(noise(sizeOf(shape), ++seed), (v) => v * size),
    shape,
  );
type Tensors = Map<string, HostTensor>;
const base: Tensors = new Map([
  ["tok_embeddings.weight", random([50, 32], 1)],
  ["norm.weight", random([32], 1)],
  ...[0, 1].flatMap((i) => ["attention", "ffn"].map((n) => [`layers.${i}.${n}_norm.weight`, random([32], 1)] as const)),
  ...layers.map(([name, shape]) => [`${name}.weight`, random([...shape], 0.25)] as const),
]);
const lora: Tensors = new Map(
  layers.flatMap(([name, [rows, columns]]) => [
    [`${name}.lora.A.weight`, random([rank, columns], 0.3)],
    [`${name}.lora.B.weight`, random([rows, rank], 0.3)],
  ]),
);
/** W + B · A */
const merged: Tensors = new Map(
  [...base].map(([name, tensor]) => {
    const [a, b] = ["A", "B"].map((half) => lora.get(name.replace(/weight$/, `lora.${half}.weight`)));
    if (!a || !b) return [name, tensor];
    const columns = tensor.shape[1]!;
    const values = toFloat32(tensor).map((value, at) => {
      const [row, column] = [Math.floor(at / columns), at % columns];
      for (let r = 0; r < rank; r++) value += Number(b.data[row * rank + r]) * Number(a.data[r * columns + column]);
      return value;
    });
    return [name, fromFloat32(values, tensor.shape)];
  }),
);

async function there(plan: ExportPlan, name: string): Promise<string> {
  await plan.write(at(name), () => {});
  return at(name);
}
async function pth(name: string, tensors: Tensors): Promise<string> {
  await writePth(at(name), tensors);
  return at(name);
}
const tokens = [[1, 2, 3, 30, 5, 6, 7, 49, 8]];
const logitsOf = async (model: CausalLM) => noGrad(() => model.forward(tokens)).data();
const loaded = async (path: string) => loadModel(path, { config });

const [basePath, loraPath] = [await pth("base.pth", base), await pth("lora.pth", lora)];
const model = await loaded(basePath);
const plain = await logitsOf(model);
const expected = await loaded(await pth("merged.pth", merged)).then(logitsOf);

/** The model's logits with an adapter. */
async function withAdapter(path: string, how: "attach" | "merge" = "merge"): Promise<Float32Array> {
  const adapter = await loadAdapter(model, path);
  adapter[how]();
  const logits = await logitsOf(model);
  adapter.dispose();
  return logits as Float32Array;
}
const tolerance = 2e-5 * Math.max(...plain.map(Math.abs));

describe("an adapter of MiniMind's first models", () => {
  test.each(["attach", "merge"] as const)("gives the logits of weights that hold B · A (%p)", async (how) => {
    expect(worst(plain, expected)).toBeGreaterThan(1000 * tolerance);
    expect(worst(await withAdapter(loraPath, how), expected)).toBeLessThan(tolerance);
  });

  test("does not under later names, whose rows are by halves", async () => {
    const later = (name: string) =>
      `model.${name}`
        .replace(/attention\.w([qkvo])/, "self_attn.$1_proj")
        .replace(/feed_forward\.w([123])/, (_, i) => `mlp.${["gate", "down", "up"][i - 1]}_proj`);
    const path = await pth("later.pth", new Map([...lora].map(([name, tensor]) => [later(name), tensor])));
    expect(worst(await withAdapter(path), expected)).toBeGreaterThan(1000 * tolerance);
  });

  test("becomes PEFT's and comes back under later names, bit for bit", async () => {
    const direct = await withAdapter(loraPath);
    const plan = planPeft(loraPath, "F32", heads);
    expect(plan.notes).toEqual([]);
    const peft = await there(plan, "peft");
    const json = JSON.parse(readFileSync(join(peft, "adapter_config.json"), "utf8"));
    const targets = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"];
    expect(json).toMatchObject({ r: rank, lora_alpha: rank, target_modules: targets });
    expect(await withAdapter(peft)).toEqual(direct);
    const back = await there(planAdapterPth(peft, "F32"), "back.pth");
    expect(openCheckpoint(back).has("model.layers.1.self_attn.q_proj.lora.B.weight")).toBe(true);
    expect(await withAdapter(back)).toEqual(direct);
    expect(await withAdapter(await there(planAdapterPth(loraPath, "F32", heads), "new.pth"))).toEqual(direct);
  });

  test("is taken as it is: PEFT's folder, which the first models wrote; square layers only; wrapped names", async () => {
    const peft = await there(planPeft(loraPath, "F32", heads), "old-peft");
    const file = join(peft, "adapter_config.json");
    const json = JSON.parse(readFileSync(file, "utf8"));
    writeFileSync(file, JSON.stringify({ ...json, target_modules: ["wq", "wk", "wv", "wo", "w1", "w2", "w3"] }));
    const entries = [...lora].map(([name, { shape, data }]) => {
      const entry = { shape, dtype: "F32" as const, data: data as Float32Array<ArrayBuffer> };
      return [`base_model.model.${name.replace(".lora.", ".lora_")}`, entry] as const;
    });
    await writeSafetensors(join(peft, "adapter_model.safetensors"), new Map(entries));
    expect(worst(await withAdapter(peft), expected)).toBeLessThan(tolerance);
    const again = await there(planPeft(peft, "F32", heads), "new-peft");
    expect(JSON.parse(readFileSync(join(again, "adapter_config.json"), "utf8"))).toEqual(json);

    const square = [...lora].filter(([name]) => /w[qo]\./.test(name));
    const some = await withAdapter(await pth("square.pth", new Map(square)));
    expect(worst(some, plain)).toBeGreaterThan(1000 * tolerance);
    const wrapped = new Map(square.map(([name, tensor]) => [`module._orig_mod.${name}`, tensor]));
    expect(await withAdapter(await pth("wrapped.pth", wrapped))).toEqual(some);
  });
});

describe("heads of an adapter's rows", () => {
  const b = (which: string, rows: number): [string, HostTensor][] => [
    [`layers.0.attention.${which}.lora.A.weight`, random([2, 128], 1)],
    [`layers.0.attention.${which}.lora.B.weight`, random([rows, 2], 1)],
  ];
  const notes = async (tensors: [string, HostTensor][], given = {}) =>
    planPeft(await pth("heads.pth", new Map(tensors)), "F32", given).notes;
  const assumed = (key: string, count: number) => [
    `num_${key}_heads ${count} is assumed, as MiniMind has it; --model.num_${key}_heads sets it`,
  ];

  test("are MiniMind's, and said", async () => {
    expect(await notes(b("wq", 128))).toEqual(assumed("attention", 8));
    expect(await notes(b("wk", 32))).toEqual(assumed("key_value", 2));
    expect(await notes([...b("wq", 128), ...b("wk", 32)])).toEqual(assumed("attention", 8));
    expect(await notes([...b("wq", 128), ...b("wk", 64)])).toEqual(assumed("attention", 16));
    expect(await notes([...b("wq", 128), ...b("wk", 128)], { num_key_value_heads: 4 })).toEqual([]);
    expect(await notes(b("wq", 128), { num_attention_heads: 4 })).toEqual([]);
    expect(await notes(b("wo", 128))).toEqual([]);
  });

  test("that do not fit are refused", async () => {
    const refused = (tensors: [string, HostTensor][], given = {}) => expect(notes(tensors, given)).rejects;
    await refused(b("wq", 100)).toThrow(
      "heads.pth: layers.0.attention.wq.lora.B.weight is [100, 2]: its rows are not those of 8 heads with an even number of channels each; give model.num_attention_heads",
    );
    await refused(b("wq", 24)).toThrow("are not those of 8 heads");
    await refused([...b("wq", 128), ...b("wk", 32)], { num_attention_heads: 6 }).toThrow("not those of 6 heads");
    await refused([...b("wq", 128), ...b("wk", 128)]).toThrow("shapes do not tell how many heads");
    await refused([...b("wq", 128), ...b("wk", 32)], { num_attention_heads: 8, num_key_value_heads: 4 }).toThrow(
      "heads have 16 channels in layers.0.attention.wq.lora.B.weight, but 8 in layers.0.attention.wk.lora.B.weight; give model.num_attention_heads and model.num_key_value_heads",
    );
  });
});

describe("what is refused:", () => {
  const refused = async (name: string, change: (tensors: Tensors) => void) => {
    const tensors = new Map(lora);
    change(tensors);
    const path = await pth(`${name}.pth`, tensors);
    return { load: expect(loadAdapter(model, path)).rejects, plan: expect(() => planPeft(path, "F32", heads)) };
  };
  const wq = "layers.0.attention.wq.lora.B.weight";

  test("B of another model's rows", async () => {
    const { load } = await refused("rows", (tensors) => tensors.set(wq, random([24, rank], 1)));
    await load.toThrow(`the adapter does not fit this model:\n  ${wq} is [24, 3], expected [32, 3]`);
  });

  test("a file of both namings", async () => {
    const late = "model.layers.1.self_attn.q_proj.lora.A.weight";
    const { load, plan } = await refused("both", (tensors) => tensors.set(late, random([rank, 32], 1)));
    const message = `both.pth: mixes MiniMind's first names (layers.0.attention.wq.lora.A.weight) with its later ones (${late})`;
    await load.toThrow(message);
    plan.toThrow(message);
  });

  test("names that no rule knows", async () => {
    const { load, plan } = await refused("names", (tensors) => {
      tensors.set("layers.0.attention.wx.lora.A.weight", random([rank, 32], 1));
      tensors.set("layers.0.attention.wq.weight", random([32, 32], 1));
    });
    const message =
      "layers.0.attention.wq.weight, layers.0.attention.wx.lora.A.weight are no part of a LoRA adapter, expected names such as layers.0.attention.wq.lora.A.weight";
    await load.toThrow(message);
    plan.toThrow(message);
  });

  test("half a pair", async () => {
    const { load, plan } = await refused("half", (tensors) => tensors.delete(wq));
    await load.toThrow("layers.0.attention.wq.lora.A.weight: its other half");
    plan.toThrow("layers.0.attention.wq.lora.A.weight: its other half is missing");
  });
});
