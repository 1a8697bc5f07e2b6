/** Texts side by side in a terminal. */
import { unicodeWidth } from "@std/cli/unicode-width";

const gap = " │ ";

/** Columns that each of several texts gets; undefined where the terminal is too narrow for them to be read. */
export function columnWidth(texts: number, terminal: number): number | undefined {
  const each = Math.floor((terminal - 1 + gap.length) / texts) - gap.length; // some terminals wrap as soon as the last column is filled
  return terminal >= 100 && texts > 1 && each >= 30 ? each : undefined;
}

/** Texts side by side, each wrapped to a width. */
export function beside(texts: readonly string[], width: number): string {
  const cells = texts.map((text) => wrap(text, width));
  const rows = Math.max(...cells.map(({ length }) => length));
  const padded = (text: string) => text + " ".repeat(width - unicodeWidth(text));
  return Array.from({ length: rows }, (_, row) => cells.map((lines) => padded(lines[row] ?? "")).join(gap))
    .map((line) => line.trimEnd())
    .join("\n");
}

/** Lines of a text at most so many columns wide: broken between words, and between Chinese characters, which take two. */
export function wrap(text: string, width: number): string[] {
  return text
    .replaceAll("\t", "    ")
    .split("\n")
    .flatMap((paragraph) => {
      const words = paragraph.match(/\s+|[\u0021-\u10ff]+|./gu) ?? [];
      const lines = [""];
      for (const piece of words.flatMap((word) => (unicodeWidth(word) > width ? [...word] : [word]))) {
        const longer = lines[lines.length - 1] + piece;
        if (unicodeWidth(longer) <= width) lines[lines.length - 1] = longer;
        else if (piece.trim()) lines.push(piece);
      }
      return lines.map((line) => line.trimEnd());
    });
}
