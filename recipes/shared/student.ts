/** The student of a distillation. */
import { CausalLM, type ModelConfig, type Tokenizer } from "../../framework/index.ts";
import { BaseError, expectSameTokenizer, openBase } from "./base.ts";

export type StudentSizes = Pick<
  ModelConfig,
  "hidden_size" | "num_hidden_layers" | "num_attention_heads" | "num_key_value_heads" | "intermediate_size"
>;

/** A teacher and the folder that it is from, and the tokens of a row. */
interface Teacher {
  teacher: CausalLM;
  tokenizer: Tokenizer;
  name: string;
  seqLen: number;
}

/**
 * The model of a folder, or a dense one of random weights with the teacher's vocabulary; where a size is 0, it is half the teacher's.
 * @throws BaseError where the student has another tokenizer or vocabulary than the teacher; ModelConfigError where sizes do not fit
 */
export async function openStudent(
  from: string,
  sizes: StudentSizes,
  { teacher, tokenizer, name, seqLen }: Teacher,
): Promise<CausalLM> {
  if (from === "") return new CausalLM(studentConfig(teacher.config, sizes));
  const { model, tokenizer: own } = await openBase(from, { seqLen });
  expectSameTokenizer({ tokenizer, name: `--teacher ${name}` }, { tokenizer: own, name: `--from ${from}` });
  const [a, b] = [teacher.config.vocab_size, model.config.vocab_size];
  if (a !== b)
    throw new BaseError(`--from: ${from} has logits for ${b} tokens, --teacher ${name} for ${a}; both must be equal`);
  return model;
}

function studentConfig(teacher: ModelConfig, sizes: StudentSizes): Partial<ModelConfig> {
  const half = (name: keyof StudentSizes) => sizes[name] || Math.max(1, Math.floor(teacher[name] / 2));
  const { vocab_size, max_position_embeddings, rms_norm_eps, rope_theta, rope_scaling } = teacher;
  const names = [
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "intermediate_size",
  ] as const;
  return {
    model_type: teacher.model_type === "llama" ? "llama" : "qwen3",
    ...{ vocab_size, max_position_embeddings, rms_norm_eps, rope_theta, rope_scaling },
    ...Object.fromEntries(names.map((each) => [each, half(each)])),
    tie_word_embeddings: teacher.tie_word_embeddings,
  };
}
