import type { Llama3Scaling, ModelConfig, Yarn } from "./config.ts";

/** The angle per position of each pair of a head's dimensions, in double precision: [head_dim / 2]. */
export function frequencies({ head_dim, rope_theta, rope_scaling }: ModelConfig): Float64Array {
  const pairs = head_dim / 2;
  const plain = Float64Array.from({ length: pairs }, (_, i) => rope_theta ** (-i / pairs));
  if (!rope_scaling) return plain;
  return rope_scaling.type === "llama3" ? llama3(plain, rope_scaling) : yarn(plain, rope_theta, rope_scaling);
}

function yarn(
  plain: Float64Array,
  rope_theta: number,
  { factor, original_max_position_embeddings: original, beta_fast, beta_slow }: Yarn,
): Float64Array {
  const head_dim = 2 * plain.length;
  // The pair that turns `beta` times over the original length (YaRN, arXiv:2309.00071, section 3.2).
  const pairOf = (beta: number) => (head_dim * Math.log(original / (beta * 2 * Math.PI))) / (2 * Math.log(rope_theta));
  const low = Math.max(Math.floor(pairOf(beta_fast)), 0);
  const high = Math.min(Math.ceil(pairOf(beta_slow)), head_dim - 1);
  return plain.map((f, i) => {
    const ramp = Math.min(Math.max((i - low) / Math.max(high - low, 0.001), 0), 1);
    return f * (1 - ramp + ramp / factor);
  });
}

function llama3(
  plain: Float64Array,
  { factor, original_max_position_embeddings: original, low_freq_factor: low, high_freq_factor: high }: Llama3Scaling,
): Float64Array {
  return plain.map((f) => {
    const turns = (original * f) / (2 * Math.PI);
    const kept = Math.min(Math.max((turns - low) / (high - low), 0), 1);
    return f * (kept + (1 - kept) / factor);
  });
}

/** cos and sin by position and pair: [positions, head_dim / 2, 2]. */
export function ropeTable(config: ModelConfig, positions: number): Float32Array<ArrayBuffer> {
  const turns = frequencies(config);
  const scale = config.rope_scaling?.type === "yarn" ? config.rope_scaling.attention_factor : 1;
  const table = new Float32Array(positions * turns.length * 2);
  for (let p = 0, at = 0; p < positions; p++) {
    for (const turn of turns) {
      table[at++] = Math.cos(p * turn) * scale;
      table[at++] = Math.sin(p * turn) * scale;
    }
  }
  return table;
}
