/** A token that is matched in the text as it stands, before any splitting or merging. */
export interface AddedToken {
  id: number;
  content: string;
  /** A control token: `decode` can leave it out, and `allowSpecial: false` takes its spelling for plain text. */
  special: boolean;
  /** Swallows white space before it, after it. */
  lstrip: boolean;
  rstrip: boolean;
  /** Matches only where no word character touches it. */
  singleWord: boolean;
  /** Is looked for after normalization. */
  normalized: boolean;
}

/** A stretch of text, or an added token that stood between two. */
export type Section = { text: string } | { id: number };

const endsInWord = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]$/u;
const beginsWithWord = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}]/u;

/** Finds added tokens: the leftmost, and the longest of several that begin at one place. */
export class AddedTokenMatcher {
  readonly #byFirst = new Map<number, { content: string; token: AddedToken }[]>();
  readonly #starts = new Uint8Array(0x10000);

  /** @param tokens with the spelling to look for (normalized where the text will be) */
  constructor(tokens: Iterable<{ content: string; token: AddedToken }>) {
    for (const entry of tokens) {
      const first = entry.content.charCodeAt(0);
      const same = this.#byFirst.get(first) ?? [];
      same.push(entry);
      same.sort((a, b) => b.content.length - a.content.length);
      this.#byFirst.set(first, same);
      this.#starts[first] = 1;
    }
  }

  /** Cuts a text at its added tokens; empty stretches are left out. */
  split(text: string): Section[] {
    const sections: Section[] = [];
    let from = 0;
    let strip = false; // the token before swallows the space after it
    const addText = (to: number, trimEnd: boolean): void => {
      let part = from === 0 && to === text.length ? text : text.slice(from, to);
      if (strip) part = part.trimStart();
      if (trimEnd) part = part.trimEnd();
      if (part !== "") sections.push({ text: part });
    };
    for (let at = 0; at < text.length; at++) {
      if (this.#starts[text.charCodeAt(at)] === 0) continue;
      const match = this.#byFirst.get(text.charCodeAt(at))!.find(({ content }) => text.startsWith(content, at));
      if (match === undefined) continue;
      const stop = at + match.content.length;
      if (!match.token.singleWord || standsAlone(text, at, stop)) {
        addText(at, match.token.lstrip);
        sections.push({ id: match.token.id });
        strip = match.token.rstrip;
        from = stop;
      }
      at = stop - 1;
    }
    addText(text.length, false);
    return sections;
  }
}

function standsAlone(text: string, start: number, end: number): boolean {
  return !endsInWord.test(text.slice(Math.max(0, start - 2), start)) && !beginsWithWord.test(text.slice(end, end + 2));
}
