import { describe, expect, test } from "bun:test";
import { modelConfig } from "../../framework/model/config.ts";
import { readConfig } from "../../framework/model/foreignConfig.ts";
import { configJson, huggingFaceConfig } from "../../framework/model/load.ts";
import { frequencies, ropeTable } from "../../framework/model/rotary.ts";

const sizes = {
  ...{ vocab_size: 320, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  ...{ intermediate_size: 64, max_position_embeddings: 256, rms_norm_eps: 1e-5 },
};
const read = (json: object) => modelConfig(readConfig("config.json", { model_type: "qwen3", ...sizes, ...json }));

test("transformers 5 keeps all of the rotary embedding together, and may leave parts of it out", () => {
  const plain = { rope_scaling: null, rope_theta: 500 };
  expect(read({ rope_parameters: { rope_type: "default", rope_theta: 500 } })).toMatchObject(plain);
  expect(read({ rope_parameters: { rope_type: "default" }, rope_theta: 500 })).toMatchObject(plain);
  const yarn = { rope_type: "yarn", factor: 4, original_max_position_embeddings: 64 };
  expect(read({ rope_parameters: yarn }).rope_theta).toBe(10_000);
  expect(read({ rope_parameters: { ...yarn, rope_theta: 500 } })).toEqual(
    read({ rope_scaling: yarn, rope_theta: 500 }),
  );
});

test("transformers 5 calls the number of experts num_local_experts, and both leave out what is their default", () => {
  const experts = { model_type: "qwen3_moe", moe_intermediate_size: 16 };
  const config = { num_experts: 16, num_experts_per_tok: 8, norm_topk_prob: false };
  expect(read({ ...experts, num_local_experts: 16 })).toMatchObject(config);
  expect(read({ ...experts, num_experts: 16, num_experts_per_tok: 2, norm_topk_prob: true })).toMatchObject({
    ...{ num_experts: 16, num_experts_per_tok: 2, norm_topk_prob: true },
  });
});

test("null is a key that was not given", () => {
  expect(read({ num_key_value_heads: null, head_dim: null })).toMatchObject({ num_key_value_heads: 4, head_dim: 8 });
});

describe("YaRN", () => {
  const original_max_position_embeddings = 64;
  // Angles and attention that transformers 4.57.6 and 5.18.0 compute.
  const cases: Record<string, [Record<string, number>, number[], number]> = {
    "slows pairs beyond the last that turns once": [
      { rope_theta: 300, max_position_embeddings: 16384, factor: 2, original_max_position_embeddings: 8192 },
      [1, 0.2402811, 0.05773502, 0.01213856],
      1.0693147,
    ],
    "holds where the model's longest text is the original one": [
      { factor: 4, original_max_position_embeddings: 256 },
      [1, 0.0625, 0.0025, 0.00025],
      1.1386294,
    ],
    "takes the model's longest text for an original that is not given": [
      { factor: 4 },
      [1, 0.0625, 0.0025, 0.00025],
      1.1386294,
    ],
    "takes what is given": [
      { factor: 4, original_max_position_embeddings, beta_fast: 4, beta_slow: 2, attention_factor: 0.9 },
      [1, 0.025, 0.0025, 0.00025],
      0.9,
    ],
  };
  for (const [
    name,
    [{ rope_theta = 10_000, max_position_embeddings = 256, ...scaling }, angles, attention],
  ] of Object.entries(cases))
    test(name, () => {
      const rope_scaling = { rope_type: "yarn", ...scaling };
      const config = read({ rope_theta, max_position_embeddings, rope_scaling });
      frequencies(config).forEach((angle, i) => void expect(angle / angles[i]!).toBeCloseTo(1, 6));
      expect(config.rope_scaling).toMatchObject({ attention_factor: expect.closeTo(attention, 6) });
    });

  test("of MiniMind scales no attention, and no angles of a model that is not for longer texts", () => {
    const mini = (max_position_embeddings: number) => {
      const json = { ...sizes, model_type: "minimind", max_position_embeddings, rope_scaling: { type: "yarn" } };
      return modelConfig({ ...readConfig("config.json", json), model_type: "qwen3" });
    };
    expect(mini(4096).rope_scaling).toMatchObject({
      ...{ factor: 16, original_max_position_embeddings: 2048, attention_factor: 1 },
    });
    expect(frequencies(mini(2048))).toEqual(frequencies({ ...mini(2048), rope_scaling: null }));
    expect(frequencies(mini(4096))).not.toEqual(frequencies(mini(2048)));
  });
});

describe("Llama 3's scaling", () => {
  const scaling = {
    ...{ rope_type: "llama3", factor: 8, original_max_position_embeddings: 8192 },
    ...{ low_freq_factor: 1, high_freq_factor: 4 },
  };
  const llama = { model_type: "llama", head_dim: 16, rope_theta: 500_000, max_position_embeddings: 131_072 };

  test("slows the slow pairs, as transformers 5.18.0 does, and no attention", () => {
    const config = read({ ...llama, rope_scaling: scaling });
    const angles = [
      1.0, 0.19392276, 0.037606031, 0.0072926651, 0.00052484602, 3.4281024e-5, 6.6478697e-6, 1.2891732e-6,
    ];
    frequencies(config).forEach((angle, i) => void expect(angle / angles[i]!).toBeCloseTo(1, 6));
    expect(ropeTable(config, 1)[0]).toBe(1);
    expect(read({ ...llama, rope_parameters: { ...scaling, rope_theta: 500_000 } })).toEqual(config);
    expect(modelConfig(huggingFaceConfig(config) as never).rope_scaling).toEqual(config.rope_scaling);
  });

  test("is refused where a setting is missing or makes no sense", () => {
    const { low_freq_factor, ...less } = scaling;
    expect(() => read({ ...llama, rope_scaling: less })).toThrow(
      "config.json: rope_scaling.low_freq_factor is missing, which llama3 needs",
    );
    expect(() => read({ ...llama, rope_scaling: { ...scaling, high_freq_factor: low_freq_factor } })).toThrow(
      "rope_scaling.high_freq_factor 1 is not above low_freq_factor 1",
    );
  });
});

describe("what would compute something else is refused by name:", () => {
  const yarn = { rope_type: "yarn", factor: 4 };
  const rope = (change: object) => ({ rope_parameters: { rope_theta: 500, ...change } });
  const refused: [object, string][] = [
    [{ use_sliding_window: true }, "use_sliding_window is true"],
    [{ layer_types: ["full_attention", "sliding_attention"] }, 'layer_types is ["full_attention","sliding_attention"]'],
    [{ partial_rotary_factor: 0.5 }, "partial_rotary_factor is 0.5"],
    [{ mlp_bias: true }, "mlp_bias is true"],
    [rope({ partial_rotary_factor: 0.5 }), "rope_parameters.partial_rotary_factor is 0.5"],
    [rope({ full_attention: { rope_theta: 1 } }), 'rope_parameters.full_attention is {"rope_theta":1}'],
    [rope({ rope_type: "longrope", factor: 8 }), 'rope_parameters.rope_type is "longrope"'],
    [{ rope_scaling: { type: "linear", factor: 2 } }, 'rope_scaling.rope_type is "linear"'],
    [{ rope_scaling: { ...yarn, mscale: 0.7 } }, "rope_scaling.mscale is 0.7"],
    [{ rope_scaling: { ...yarn, truncate: false } }, "rope_scaling.truncate is false"],
  ];
  for (const [change, message] of refused)
    test(message, () => expect(() => read(change)).toThrow(`config.json: ${message}, which is not supported`));

  test.each<[object, string]>([
    [{ rope_theta: 0 }, "rope_theta is 0, expected a number above 0"],
    [{ rope_theta: "abc" }, 'rope_theta is "abc", expected a number above 0'],
    [{ rms_norm_eps: -1 }, "rms_norm_eps is -1, expected a number above 0"],
    [{ tie_word_embeddings: "abc" }, 'tie_word_embeddings is "abc", expected true or false'],
    [{ rope_parameters: "abc" }, 'rope_parameters is "abc", expected an object'],
    [{ rope_parameters: { rope_type: [] } }, "rope_parameters.rope_type is [], which is not supported"],
  ])("nonsense: %p", (change, message) => expect(() => read(change)).toThrow(message));

  test("a missing factor", () => {
    expect(() => read({ rope_scaling: { rope_type: "yarn" } })).toThrow(
      "config.json: rope_scaling.factor is missing, which yarn needs",
    );
  });
});

test("fractions are written with their point, which transformers 5 insists on", () => {
  const text = configJson({ router_aux_loss_coef: 0, rope_theta: 1e6, rope_scaling: { factor: 16 }, head_dim: 16 });
  expect(JSON.parse(text)).toEqual({
    ...{ router_aux_loss_coef: 0, rope_theta: 1e6 },
    ...{ rope_scaling: { factor: 16 }, head_dim: 16 },
  });
  expect(text.match(/\d+\.0\b/g)).toEqual(["0.0", "1000000.0", "16.0"]);
});
