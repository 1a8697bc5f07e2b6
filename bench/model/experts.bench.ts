import type { optim, presets } from "../../framework/index.ts";
import { gpu } from "../../framework/tensor/engine.ts";
import { trainer } from "../step.ts";
import type { Row } from "../table.ts";

type Config = (typeof presets)[string];

const sizes: Config = {
  ...{ vocab_size: 2048, hidden_size: 256, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2 },
  intermediate_size: 704,
};
/** By the dense model that has as many parameters active. */
const kinds: Record<string, Config> = {
  dense: sizes,
  "1 of 4 experts": { ...sizes, num_experts: 4 },
  "2 of 8 experts of half": { ...sizes, num_experts: 8, num_experts_per_tok: 2, moe_intermediate_size: 352 },
};
const ROUNDS = 5;

/** A software adapter computes in this process: its own time, which others on the machine do not change. */
function clock(hardware: boolean): number {
  if (hardware) return performance.now();
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/**
 * Training steps of models of experts beside a dense one of equal active size, in turns, so that the machine's moods meet all. The least
 * time of each; on a CPU it is the process's, over all cores.
 */
export default async function experts(): Promise<Row[]> {
  const hardware = gpu().target.class !== "software";
  const precisions: optim.Precision[] = gpu().target.f16 ? ["f32", "f16"] : ["f32"];
  const rows: Row[] = [];
  for (const precision of precisions) {
    const options = { preset: "", batch: hardware ? 64 : 8, length: 128, precision };
    const trainers = Object.entries(kinds).map(([name, config]) => ({
      ...{ name, times: [] as number[] },
      ...trainer(options, config),
    }));
    for (let round = -1; round < ROUNDS; round++)
      for (const { step, times } of trainers) {
        const start = clock(hardware);
        const loss = step();
        await gpu().finish();
        loss.dispose();
        if (round >= 0) times.push(clock(hardware) - start);
      }
    const dense = Math.min(...trainers[0].times);
    for (const { name, times, model, optimizer } of trainers) {
      const ms = Math.min(...times);
      rows.push({ name: "step", case: `${name}, ${precision}`, ms, "times dense": ms / dense });
      optimizer.dispose();
      model.dispose();
    }
  }
  return rows;
}
