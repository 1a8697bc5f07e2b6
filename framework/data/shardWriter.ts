/** Writes token shards. See `shards.ts`. */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Encoded } from "./encode.ts";
import type { ShardInfo } from "./shards.ts";

const SHARD = 1 << 27; // tokens a file

/** Writes tokens and documents behind each other; a document never lies across two files. */
export class ShardWriter {
  private readonly wide: boolean;
  private readonly counts: number[] = [];
  private readonly index: number;
  private file = -1;
  private mask = -1;
  private documents = 0;

  constructor(
    private readonly folder: string,
    vocabSize: number,
    private readonly masked: boolean,
  ) {
    this.wide = vocabSize > 65536;
    this.index = openSync(join(folder, "documents.bin"), "w");
  }

  add({ tokens, documents: lengths, trained }: Encoded): void {
    if (tokens.length === 0) return;
    if (this.file < 0 || this.counts[this.counts.length - 1] + tokens.length > SHARD) this.next();
    writeFully(this.file, this.wide ? tokens : Uint16Array.from(tokens));
    if (this.masked && trained) writeFully(this.mask, trained);
    writeFully(this.index, lengths);
    this.counts[this.counts.length - 1] += tokens.length;
    this.documents += lengths.length / 2;
  }

  info(): Pick<ShardInfo, "bytesPerToken" | "shards" | "documents"> {
    return { bytesPerToken: this.wide ? 4 : 2, shards: this.counts, documents: this.documents };
  }

  close(): void {
    closeSync(this.index);
    this.closeShard();
  }

  private next(): void {
    this.closeShard();
    this.file = openSync(join(this.folder, `tokens-${this.counts.length}.bin`), "w");
    if (this.masked) this.mask = openSync(join(this.folder, `trained-${this.counts.length}.bin`), "w");
    this.counts.push(0);
  }

  private closeShard(): void {
    for (const file of [this.file, this.mask]) if (file >= 0) closeSync(file);
  }
}

function writeFully(file: number, data: Uint8Array | Uint16Array | Uint32Array): void {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
}
