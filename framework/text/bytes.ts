/**
 * The byte alphabet of byte-level BPE: every byte has one printable character that stands for it in vocabulary files,
 * so that "Ġthe" is " the" and "ä¸Ń" is "中". Radford et al. 2019 (GPT-2), `bytes_to_unicode`.
 */

const printable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);

/** The character that stands for each byte; index is the byte. */
export const byteToChar: readonly string[] = (() => {
  let unprintable = 0;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : 0x100 + unprintable++));
})();

const charToByte = new Map(byteToChar.map((char, byte) => [char, byte]));

/** The bytes in the order of their characters: the order in which a trained vocabulary lists its alphabet. */
export const bytesByChar: readonly number[] = [...charToByte.keys()].sort().map((char) => charToByte.get(char)!);

const utf8 = new TextEncoder();

/** The vocabulary spelling of bytes: [0xe4, 0xb8, 0xad] is "ä¸Ń". */
export function spellBytes(bytes: Iterable<number>): string {
  let spelling = "";
  for (const byte of bytes) spelling += byteToChar[byte];
  return spelling;
}

/** The bytes that a vocabulary spelling stands for; a token with characters outside the alphabet is its own UTF-8. */
export function bytesOfToken(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = charToByte.get(token[i]!);
    if (byte === undefined) return utf8.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}

/**
 * Writes the UTF-8 bytes of text[start, end) into `out` and returns how many. A lone surrogate becomes U+FFFD, as
 * `TextEncoder` has it. `out` must hold 3 × (end - start) elements.
 */
export function writeUtf8(text: string, start: number, end: number, out: Int32Array): number {
  let n = 0;
  for (let i = start; i < end; i++) {
    let c = text.charCodeAt(i);
    if (c < 0x80) {
      out[n++] = c;
    } else if (c < 0x800) {
      out[n++] = 0xc0 | (c >> 6);
      out[n++] = 0x80 | (c & 63);
    } else {
      if (c >= 0xd800 && c < 0xe000) {
        const low = c < 0xdc00 && i + 1 < end ? text.charCodeAt(i + 1) : 0;
        if (low >= 0xdc00 && low < 0xe000) {
          i++;
          c = 0x10000 + ((c & 0x3ff) << 10) + (low & 0x3ff);
          out[n++] = 0xf0 | (c >> 18);
          out[n++] = 0x80 | ((c >> 12) & 63);
          out[n++] = 0x80 | ((c >> 6) & 63);
          out[n++] = 0x80 | (c & 63);
          continue;
        }
        c = 0xfffd;
      }
      out[n++] = 0xe0 | (c >> 12);
      out[n++] = 0x80 | ((c >> 6) & 63);
      out[n++] = 0x80 | (c & 63);
    }
  }
  return n;
}
