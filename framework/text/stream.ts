/** Decodes ids one after the other; bytes of a character that is not whole yet are held back. */
export class DecodeStream {
  readonly #bytesOf: (id: number) => Uint8Array | undefined;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  /** @param bytesOf  bytes of an id; undefined leaves it out */
  constructor(bytesOf: (id: number) => Uint8Array | undefined) {
    this.#bytesOf = bytesOf;
  }

  /** The text that this id completes, "" where its character goes on. */
  push(id: number): string {
    const bytes = this.#bytesOf(id);
    return bytes === undefined ? "" : this.#decoder.decode(bytes, { stream: true });
  }

  /** What is left: U+FFFD where the ids ended inside a character. */
  end(): string {
    return this.#decoder.decode();
  }
}
