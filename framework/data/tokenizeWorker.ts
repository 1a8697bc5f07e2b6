/** Encodes texts off the main thread. See `tokenize.ts`. */
import { parentPort, workerData } from "node:worker_threads";
import { loadTokenizer } from "../text/tokenizer.ts";
import { encodeAll, type Job, type Special } from "./encode.ts";

const { folder, special } = workerData as { folder: string; special: Special };
const tokenizer = loadTokenizer(folder);

parentPort?.on("message", ({ id, texts }: Job) => {
  const encoded = encodeAll(tokenizer, texts, special);
  parentPort?.postMessage({ id, ...encoded }, [encoded.tokens.buffer, encoded.documents.buffer]);
});
