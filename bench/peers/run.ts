/** One peer and one task in a process of its own: `bun bench/peers/run.ts jax-wasm S1 120`. Its last line is JSON. */
import { decodeStreams, isSize } from "./data.ts";
import { type Counts, checkDevice, sharedDevice } from "./device.ts";
import { type Measured, measureAttention, measureDecoding, measureTraining } from "./measure.ts";
import { type Peer, peers } from "./peer.ts";

/** What a peer's process reports. */
export interface Report extends Measured {
  adapter?: string;
  note?: string;
  peakBytes?: number;
  residentBytes: number;
}

function measure(peer: Peer, task: string, budget: number, counts: Counts | undefined): Promise<Measured> {
  if (isSize(task)) return measureTraining(peer, task, budget, counts);
  if (task === "attention") return measureAttention(peer, budget, counts);
  return measureDecoding(peer, decodeStreams[task], budget, counts);
}

if (import.meta.main) {
  const [name, task, budget] = process.argv.slice(2);
  const { backend, open } = peers[name];
  const shared = backend === "webgpu" ? await sharedDevice(name.startsWith("ours")) : undefined;
  const peer = await open();
  const measured = await measure(peer, task, Number(budget), shared?.counts);
  if (shared) await checkDevice();
  const report: Report = {
    ...measured,
    adapter: shared?.adapter,
    note: isSize(task) ? peer.note : undefined,
    peakBytes: shared?.counts.peakBytes,
    residentBytes: process.resourceUsage().maxRSS * 1024,
  };
  console.log(JSON.stringify(report));
  process.exit(0);
}
