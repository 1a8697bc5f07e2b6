/** `@std/cli/unicode-width` where JSR cannot be reached. */

// Unicode 16, EastAsianWidth.txt W and F, in blocks; emoji by their property.
const WIDE =
  /[\u1100-\u115F\u231A\u231B\u2329\u232A\u2E80-\u303E\u3041-\u3247\u3250-\u4DBF\u4E00-\uA4C6\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF\uFE10-\uFE19\uFE30-\uFE6B\uFF01-\uFF60\uFFE0-\uFFE6\u{16FE0}-\u{18D08}\u{1AFF0}-\u{1B2FB}\u{1F200}-\u{1F265}\u{20000}-\u{3FFFD}]|\p{Emoji_Presentation}/u;
const ZERO = /[\p{Mn}\p{Me}\p{Cf}\p{Cc}\u1160-\u11FF]/u;
const ASCII = /^[\x20-\x7E]*$/;

/**
 * Columns that a terminal needs for the text: two for a Chinese character or an emoji, none for a combining mark or a
 * control character. Counted by code point, so an emoji joined of several counts each of them.
 */
export function unicodeWidth(str: string): number {
  if (ASCII.test(str)) return str.length;
  let width = 0;
  for (const character of str)
    width += ZERO.test(character) && character !== "\u00AD" ? 0 : WIDE.test(character) ? 2 : 1;
  return width;
}
