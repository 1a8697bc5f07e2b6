import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openShards, type ShardInfo, type Shards } from "../../framework/data/shards.ts";
import { hostRandom } from "../../framework/tensor/random.ts";

/** Token shards of random documents (20 to 400 tokens) in a temporary folder, which `remove` deletes. */
export function randomShards(vocab: number, tokens: number): { shards: Shards; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "micromind-shards-"));
  const random = hostRandom(1);
  const lengths: number[] = [];
  for (let total = 0; total < tokens; total += lengths[lengths.length - 1])
    lengths.push(20 + Math.floor(random() * 380));
  const count = lengths.reduce((a, b) => a + b);
  const ids = Uint16Array.from({ length: count }, () => Math.floor(random() * vocab));
  const index = lengths.flatMap((length) => [length, Math.floor(random() * 2 ** 32)]);
  const documents = lengths.length;
  const info: ShardInfo = {
    bytesPerToken: 2,
    shards: [count],
    documents,
    files: [],
    skipped: 0,
    skippedExamples: [],
    stage: "text",
    truncated: 0,
    untrained: 0,
    format: "text",
  };
  writeFileSync(join(folder, "tokens-0.bin"), ids);
  writeFileSync(join(folder, "documents.bin"), Uint32Array.from(index));
  writeFileSync(join(folder, "info.json"), JSON.stringify(info));
  const shards = openShards(folder);
  return {
    shards,
    remove() {
      shards.close();
      rmSync(folder, { recursive: true });
    },
  };
}
