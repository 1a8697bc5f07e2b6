/** A decoder's weights as they lie on disk, under Hugging Face's names, checked against their config: what loading and converting share. */
import { statSync } from "node:fs";
import { join } from "node:path";
import type { HostTensor, TensorInfo } from "../checkpoint/host.ts";
import { type CheckpointWithConfig, openCheckpoint } from "../checkpoint/load.ts";
import { sameShape, showShape } from "../tensor/shape.ts";
import { type ModelConfig, ModelConfigError, modelConfig } from "./config.ts";
import { readConfig, readGgufConfig } from "./foreignConfig.ts";
import { isGguf, type NamedTensor, namedTensors } from "./names.ts";
import { inferSizes, isTied, modelTypeOf, parameterShapes } from "./sizes.ts";

export interface ModelWeights {
  readonly path: string;
  readonly config: ModelConfig;
  /** The file or folder itself. */
  readonly checkpoint: CheckpointWithConfig;
  /** What had to be assumed where nothing says it, such as `rms_norm_eps 0.00001`. */
  readonly assumed: readonly string[];
  /** What does not fit the config, a sentence each. */
  readonly problems: readonly string[];
  /** The parameters of the model, in its order. */
  names(): string[];
  info(name: string): TensorInfo;
  /** A parameter's numbers, read from disk. */
  get(name: string): HostTensor;
  /** The name that a parameter has in the file. */
  sourceOf(name: string): string;
}

export interface WeightsOptions {
  /** Sizes in Hugging Face's names, over what the files say. */
  config?: Partial<ModelConfig>;
  /** Tell the sizes of a file without a config by its shapes, and for the rest take MiniMind's. */
  infer?: boolean;
}

/**
 * Opens a run folder, a Hugging Face folder, a safetensors file, a PyTorch `.pth` or a GGUF. Nothing but headers is read.
 * @throws FileError where it is missing or damaged; ModelConfigError where it is for a model of another kind or sizes are missing
 */
export function openWeights(path: string, { config: given = {}, infer = false }: WeightsOptions = {}): ModelWeights {
  const checkpoint = openCheckpoint(path);
  const tensors = namedTensors(checkpoint);
  const { sizes, assumed } = sizesOf(path, checkpoint, tensors, given, infer);
  const config = modelConfig({ ...sizes, ...given });
  const shapes = parameterShapes(config);
  const entry = (name: string): NamedTensor => {
    const found = tensors.get(name);
    if (!found) throw new ModelConfigError(`${path}: ${name} is missing`);
    return found;
  };
  return {
    ...{ path, config, checkpoint, assumed },
    problems: problemsOf(config, shapes, tensors),
    names: () => [...shapes.keys()],
    info: (name) => ({ shape: entry(name).shape, dtype: entry(name).dtype }),
    get: (name) => entry(name).read(config),
    sourceOf: (name) => entry(name).source,
  };
}

/** @throws ModelConfigError where the weights are not those of the config, with all that does not fit */
export function expectFit({ path, problems }: ModelWeights): void {
  if (problems.length === 0) return;
  const shown = problems.slice(0, 10).join("\n  ");
  const more = problems.length > 10 ? `\n  and ${problems.length - 10} more` : "";
  throw new ModelConfigError(`${path}: the weights do not fit the config:\n  ${shown}${more}`);
}

type Sizes = Partial<ModelConfig> & Record<string, unknown>;

function sizesOf(
  path: string,
  checkpoint: CheckpointWithConfig,
  tensors: ReadonlyMap<string, NamedTensor>,
  given: Partial<ModelConfig>,
  infer: boolean,
): { sizes: Sizes; assumed: string[] } {
  const tied = () => isTied(tensors, checkpoint.tied);
  if (isGguf(checkpoint)) {
    const vocab_size = tensors.get("model.embed_tokens.weight")?.shape[0];
    const sizes = { ...readGgufConfig(path, checkpoint.values), vocab_size, tie_word_embeddings: tied() };
    return { sizes, assumed: [] };
  }
  const { config } = checkpoint;
  const told = config && config.hidden_size !== undefined ? readConfig(path, config) : undefined;
  if (!told && given.hidden_size === undefined) {
    if (infer) {
      const { sizes, notes } = inferSizes(path, tensors, given);
      return { sizes: { ...sizes, tie_word_embeddings: tied() }, assumed: notes };
    }
    const place = statSync(path).isDirectory() ? join(path, "config.json") : "config.json beside it";
    throw new ModelConfigError(`${path}: no ${place}; give the model's sizes as loadModel(path, { config })`);
  }
  const sizes: Sizes = { ...told };
  if (sizes.model_type === undefined || (sizes.model_type as string) === "minimind")
    sizes.model_type = modelTypeOf(tensors);
  return { sizes, assumed: [] };
}

function problemsOf(
  config: ModelConfig,
  shapes: ReadonlyMap<string, readonly number[]>,
  tensors: ReadonlyMap<string, NamedTensor>,
): string[] {
  const problems: string[] = [];
  for (const [name, shape] of shapes) {
    const found = tensors.get(name);
    if (!found) problems.push(`${name} is missing`);
    else if (!sameShape(found.shape, shape))
      problems.push(`${name} is ${showShape(found.shape)}, the config asks for ${showShape(shape)}`);
  }
  const tiedHead = (name: string) => config.tie_word_embeddings && name === "lm_head.weight";
  for (const name of tensors.keys())
    if (!shapes.has(name) && !tiedHead(name)) problems.push(`${name} is not in the model`);
  return problems;
}
