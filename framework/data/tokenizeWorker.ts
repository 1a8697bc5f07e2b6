/** Encodes texts off the main thread. See `tokenize.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import { loadTokenizer } from "../text/tokenizer.ts";
import { type Encoding, encodeAll, type Job } from "./encode.ts";

const { folder, encoding } = workerData as { folder: string; encoding: Encoding };
const tokenizer = loadTokenizer(folder);

parentPort?.on("message", (job: Job) => {
  const encoded = encodeAll(tokenizer, job, encoding);
  const { tokens, documents, trained } = encoded;
  const moved = [tokens.buffer, documents.buffer, ...(trained ? [trained.buffer] : [])];
  parentPort?.postMessage({ id: job.id, ...encoded }, moved);
});
